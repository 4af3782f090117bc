"""The JSON of `python -m src.train --trainer vae`: a section `training` and a section `vae`, one preset."""

from __future__ import annotations

from typing import Any

from autocast.runs.importing.imported import (
    DELAYED,
    GLOBAL,
    PREFIX,
    Imported,
    beta_comment,
    error,
    kl_term,
    linear,
    objective,
    perceptual_term,
)
from autocast.runs.importing.reading import Findings, Section, shown

SECTIONS = ("training", "vae")
NOT_NEEDED = "not needed: the data say it"
TOLD_OF_TRAINING = {
    "output_dir": "give --workdir DIR",
    "num_workers": "not needed: small data are in memory, and the cluster profile sets workers",
    "resume": "give --resume-from RUN",
    "slice_count": "every frame of the data is one sample",
    "img_size": "fields keep their own grid; for pictures give datamodule.size=N",
    "data_root": "give --dataset DIR",
}
TOLD_OF_MODEL = {
    "in_channels": NOT_NEEDED,
    "out_channels": NOT_NEEDED,
    "resolution": NOT_NEEDED,
    "spatial_dims": NOT_NEEDED,
    "attn_heads": "attention is what model.encoder.attn_resolutions and use_attention say",
    "attn_dim_head": "attention is what model.encoder.attn_resolutions and use_attention say",
}
TRAINING = (
    *TOLD_OF_TRAINING,
    *(
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "kl_weight",
        "kl_anneal_steps",
        "reg_type",
        "recon_type",
    ),
    *("perceptual_weight", "gan_weight", "gan_start", "disc_lr", "device", "perceptual_device", "disc_device"),
    *("micro_batch_size", "use_amp", "save_every", "seed"),
)
MODEL = (
    *TOLD_OF_MODEL,
    *("base_ch", "ch_mult", "num_res_blocks", "attn_resolutions", "z_channels", "embed_dim", "dropout"),
    *("use_attention", "double_z"),
)
RECONSTRUCTIONS = ("mse", "bce", "perceptual")
VGG = "published weights are not part of the package: errors and features of the encoder stand in. Give "
VGG += "perceptual.weights_file=FILE and model.objective.terms.perceptual.features=vgg16"
PENALTY = "a penalty of means and variances without a codebook. Set kl, or train with objective=vq bottleneck=vq."
ENTROPY = "imported as mse. There it was the entropy of logits, and decoders end without a sigmoid here: the term "
ENTROPY += (
    "CrossEntropy with from_logits=true, of fields in [0, 1] (datamodule.normalisation=none), trains a decoder of "
)
ENTROPY += "logits, and scores and pictures are of logits then"
RATE = "the rate falls along a cosine here; it was constant there: optimizer.lr_scheduler=null"


def read(document: dict[str, Any], stem: str, findings: Findings) -> list[Imported]:
    """The preset that a file describes."""
    top = Section("", document, SECTIONS, findings)
    training = Section("training", top.values.get("training", {}), TRAINING, findings)
    model = Section("vae", top.values.get("vae", {}), MODEL, findings)
    training.tell(TOLD_OF_TRAINING)
    model.tell(TOLD_OF_MODEL)
    if not model.flag("double_z", default=True):
        findings.refuse("vae.double_z", "false: a mean and a variance are needed. Set it to true.")
    parts = {"encoder": _encoder(model), "objective": _objective(training)}
    others = _training(training)
    channels, side = model.whole("in_channels", 1), training.whole("img_size", 256)
    if findings.problems:
        return []
    comments = [beta_comment(parts["objective"], (side, side, channels)), *findings.notes]
    defaults = [
        {"override /encoder@model.encoder": "kl"},
        {"override /bottleneck@model.bottleneck": "gaussian"},
        {"override /objective@model.objective": "mse"},
    ]
    preset = {"defaults": defaults, "model": parts, **others}
    return [Imported("preset", f"{PREFIX}{stem}", preset, GLOBAL, [comment for comment in comments if comment])]


def _encoder(model: Section) -> dict[str, Any]:
    return {
        "base_ch": model.whole("base_ch", 128),
        "ch_mult": model.numbers("ch_mult", (1, 2, 4, 4)),
        "num_res_blocks": model.whole("num_res_blocks", 2),
        "attn_resolutions": model.numbers("attn_resolutions", (16,)),
        "z_channels": model.whole("z_channels", 4),
        "embed_dim": model.whole("embed_dim", 4),
        "dropout": model.number("dropout", 0.0),
        "use_attention": model.flag("use_attention", default=True),
    }


def _objective(training: Section) -> dict[str, Any]:
    terms, weights = _reconstruction(training)
    kl, steps = training.number("kl_weight", 1e-6), training.whole("kl_anneal_steps", 0, least=0)
    if training.values.get("reg_type", "kl") != "kl":
        training.findings.refuse("training.reg_type", f"{shown(training.values['reg_type'])}: {PENALTY}")
    terms["kl"], weights["kl"] = kl_term(), linear(kl, steps) if steps and kl else kl
    adversarial, start = training.number("gan_weight", 0.001), training.whole("gan_start", 0, least=0)
    if adversarial:
        terms["adversarial"] = _adversarial(training)
        weights["adversarial"] = {"_target_": DELAYED, "then": adversarial, "delay": start} if start else adversarial
    return objective(terms, weights)


def _reconstruction(training: Section) -> tuple[dict[str, Any], dict[str, Any]]:
    kind = training.choice("recon_type", RECONSTRUCTIONS, "perceptual")
    terms: dict[str, Any] = {"mse": error("SquaredError")}
    weights: dict[str, Any] = {"mse": 1.0}
    if kind == "bce":
        training.findings.tell(f"training.recon_type=bce: {ENTROPY}")
    perceptual = training.number("perceptual_weight", 0.0) or 0.0
    perceptual += 1.0 if kind == "perceptual" else 0.0
    if perceptual:
        terms["perceptual"], weights["perceptual"] = perceptual_term("encoder"), perceptual
        training.findings.tell(f"training.recon_type, training.perceptual_weight: {VGG}")
    return terms, weights


def _adversarial(training: Section) -> dict[str, Any]:
    return {
        "_target_": "autocast.losses.adversarial.Adversarial",
        "discriminator": {
            "_target_": "autocast.nn.patchgan.PatchDiscriminator",
            "_partial_": True,
            "n_layers": 3,
            "base_channels": 64,
            "norm": "batch",
        },
        "loss": "hinge",
        "adaptive": False,
        "r1": 0.0,
        "learning_rate": training.number("disc_lr", 1e-4),
        "device": training.word("disc_device"),
    }


def _training(training: Section) -> dict[str, Any]:
    """The sections of a preset that are not about the model."""
    training.findings.tell(f"training.learning_rate: {RATE}")
    decay = training.number("weight_decay", 0.0)
    trainer: dict[str, Any] = {"max_epochs": training.whole("epochs", 100)}
    if training.word("device") == "cpu":
        trainer["accelerator"] = "cpu"
    if "micro_batch_size" in training:
        trainer["micro_batch"] = training.whole("micro_batch_size", 1)
    if training.flag("use_amp", default=False):
        trainer["precision"] = "bf16-mixed"  # a discriminator cannot be trained with the scaled gradients of 16-mixed
    made = {
        "datamodule": {"batch_size": training.whole("batch_size", 4)},
        "optimizer": {
            "learning_rate": training.number("learning_rate", 1e-4),
            "algorithm": {"weight_decay": decay},
        },
        "trainer": trainer,
        "checkpoint": {"every_n_epochs": training.whole("save_every", 10)},
        "seed": training.whole("seed", 42, least=0),
    }
    device = training.word("perceptual_device")
    return {**made, "perceptual": {"device": device}} if device else made
