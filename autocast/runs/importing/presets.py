"""The JSON of `train_unified.py`: a base, and presets of the loss, the training, the model and the data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from autocast.runs.importing.imported import (
    GLOBAL,
    PIECEWISE,
    PREFIX,
    Imported,
    beta_comment,
    error,
    kl_term,
    objective,
    perceptual_term,
)
from autocast.runs.importing.reading import Findings, Section
from autocast.runs.overrides import write_override

BASE, LOSSES, TRAININGS, MODELS, DATA = (
    "base_config",
    "loss_presets",
    "training_presets",
    "model_presets",
    "dataset_presets",
)
SECTIONS = (BASE, LOSSES, TRAININGS, MODELS, DATA)
USES = {"mse": "use_mse", "l1": "use_l1", "perceptual": "use_perceptual_loss", "lpips": "use_lpips"}
"""The switch of each term of a loss."""
TERMS: dict[str, Callable[[], dict[str, Any]]] = {
    "mse": lambda: error("SquaredError"),
    "l1": lambda: error("AbsoluteError"),
    "perceptual": lambda: perceptual_term("encoder"),
    "lpips": lambda: perceptual_term("lpips"),
}
SCHEDULED = ("beta", "perceptual")
SCHEDULES = tuple(f"{name}_{part}" for name in SCHEDULED for part in ("schedule", "start", "end", "warmup_epochs"))
OWN_GRID = "fields keep their own grid; for pictures give datamodule.size=N"
NO_CONTROL = "there are no controllers here that change weights by what they see; take a schedule of model.objective"
NO_QUALITY = "there is no such term; objective=high_diversity is made for samples"
TOLD = {
    LOSSES: {"generation_weight": NO_QUALITY, "use_generation_quality": NO_QUALITY},
    TRAININGS: {
        "model_save_path": "give --workdir DIR",
        "adaptive_kl_control": NO_CONTROL,
        "adaptive_mse_l1_control": NO_CONTROL,
        "stage_based_training": NO_CONTROL,
        "mse_priority_phase": "take training=mse_priority_training",
    },
    MODELS: {"input_img_size": OWN_GRID},
    DATA: {"dataset_dir": "give --dataset DIR"},
}
"""Keys without a counterpart, by the presets that tell them where the base has them; they may be anywhere."""
ANYWHERE = {key: note for notes in TOLD.values() for key, note in notes.items()}
PLATEAU = (
    "the rate falls along a cosine here; there it was halved where the validation loss stalled (ReduceLROnPlateau)"
)
OF_THE_LOSS = "left to the objective, whose own there won. For one with a number as the weight of perceptual give"
REPLACED = "a schedule of an imported training replaces it, where there the loss preset won"
STANDING_IN = {
    "perceptual": "features of the autoencoder's own encoder, as in the first version. For VGG19, as in the later one, "
    "give perceptual.weights_file=FILE model.objective.terms.perceptual.features=vgg19",
    "lpips": "a distance of random convolutions without perceptual.weights_file=FILE",
}
"""What terms are that cannot be as they were."""
OF_LOSS = ("beta", *USES.values(), *(f"{term}_weight" for term in USES), *SCHEDULES)
OF_TRAINING = ("max_epoch", "batch_size", "lr", "optimizer", "weight_decay", *SCHEDULES)
OF_MODEL = ("embedding_size", "num_channels")
OF_DATA = ("dataset_subset",)
OPTIMIZERS = ("adam", "adamw")
NAME = re.compile(r"[\w.-]+", re.ASCII)
"""What an option of a config group, which is a file, may be called."""


def read(document: dict[str, Any], findings: Findings) -> list[Imported]:
    """Every preset of a file, on top of its base, as an option of a config group."""
    top = Section("", document, SECTIONS, findings)
    known = (*OF_LOSS, *OF_TRAINING, *OF_MODEL, *OF_DATA, *ANYWHERE)
    base = Section(BASE, top.values.get(BASE, {}), known, findings)
    base.tell(ANYWHERE)
    made = [
        *(_loss(*preset) for preset in _presets(top, LOSSES, OF_LOSS, base)),
        *(_training(*preset) for preset in _presets(top, TRAININGS, OF_TRAINING, base)),
        *(_model(*preset) for preset in _presets(top, MODELS, OF_MODEL, base)),
        *(_subset(*preset) for preset in _presets(top, DATA, OF_DATA, base)),
    ]
    return [] if findings.problems else made


def _presets(
    top: Section, group: str, known: tuple[str, ...], base: Section
) -> Iterator[tuple[str, Section, list[str]]]:
    """Their names, what they hold, and what has no counterpart of it."""
    presets = Section(group, top.values.get(group, {}), top.values.get(group, {}), top.findings)
    for name, values in presets.values.items():
        if not NAME.fullmatch(name):
            top.findings.refuse(f"{group}.{name}", "becomes the name of a file. Letters, digits, '_', '-', '.' only.")
        section = Section(f"{group}.{name}", values, (*known, *ANYWHERE), top.findings, base)
        of_the_base = {key: note for key, note in TOLD[group].items() if key not in section.values}
        yield name, section, [*section.tell(ANYWHERE), *base.tell(of_the_base)]


def _loss(name: str, loss: Section, notes: list[str]) -> Imported:
    weights = _reconstruction(loss)
    if not weights:
        switches = ", ".join(f"{switch} with {term}_weight" for term, switch in USES.items())
        loss.findings.refuse(loss.path, f"nothing is reconstructed. Give one of {switches}.")
    terms = {term: TERMS[term]() for term in weights} | {"kl": kl_term()}
    told = [loss.findings.tell(f"{term} of a loss: {note}") for term, note in STANDING_IN.items() if term in terms]
    if (schedule := _schedule(loss, "beta")) and "beta_schedule" in loss.values:
        told.append(loss.findings.tell(f"{loss.path}.beta_schedule: {REPLACED}"))
    weights["kl"] = schedule or loss.number("beta", 1.0)
    made = objective(terms, weights)
    side = loss.whole("input_img_size", 64)
    beta = None if loss.findings.problems else beta_comment(made, (side, side, 3))
    return Imported("objective", f"{PREFIX}{name}", made, comments=[*([beta] if beta else []), *notes, *told])


def _reconstruction(loss: Section) -> dict[str, Any]:
    """The weights of the terms that a loss has, but the KL's; also one that is no number, which is refused."""
    weights: dict[str, Any] = {}
    for term, switch in USES.items():
        weight, schedule = loss.number(f"{term}_weight", 0.0), _schedule(loss, term)
        if loss.flag(switch, default=True) is not False and (schedule or weight != 0):
            weights[term] = schedule or weight
    return weights


def _schedule(section: Section, name: str) -> dict[str, Any] | None:
    """From a start to an end in so many epochs, by default all; None where nothing is scheduled."""
    if not section.flag(f"{name}_schedule", default=False):
        return None
    start, end = section.number(f"{name}_start", 0.0), section.number(f"{name}_end", 1.0)
    key = f"{name}_warmup_epochs"
    length = f"{section.whole(key, 1)} epochs" if key in section else "100 %"
    return {"_target_": PIECEWISE, "points": [[0, start], [length, end]]}


def _training(name: str, training: Section, notes: list[str]) -> Imported:
    made: dict[str, Any] = {
        "defaults": [
            {"override /optimizer": training.choice("optimizer", OPTIMIZERS, "adam")},
            {"override /callbacks": "early_stopping"},
        ],
        "datamodule": {"batch_size": training.whole("batch_size", 128)},
        "optimizer": {
            "learning_rate": training.number("lr", 1e-4),
            "algorithm": {"weight_decay": training.number("weight_decay", 1e-5)},
        },
        "trainer": {"max_epochs": training.whole("max_epoch", 100), "gradient_clip_val": 1.0},
        "callbacks": {"early_stopping": {"patience": 12}},
    }
    comments = [*notes, training.findings.tell(f"lr of a training: {PLATEAU}"), *_left_out(training)]
    if schedule := _schedule(training, "beta"):
        made["model"] = {"objective": {"weights": {"kl": schedule}}}
        comments.append("Only for imported objectives, and others with a number as the weight of kl.")
    return Imported("training", f"{PREFIX}{name}", made, GLOBAL, comments)


def _left_out(training: Section) -> list[str]:
    """A schedule of the perceptual term, which not every objective has."""
    schedule = _schedule(training, "perceptual")
    if schedule is None or "perceptual_schedule" not in training.values:
        return []
    typed = shlex.quote(write_override("model.objective.weights.perceptual", schedule))
    return [training.findings.tell(f"{training.path}.perceptual_schedule: {OF_THE_LOSS} {typed}")]


def _model(name: str, model: Section, notes: list[str]) -> Imported:
    width = model.whole("num_channels", 128) or 1  # nothing is imported where it is wrong
    made = {
        "defaults": [
            "autoencoder",
            {"override /encoder@_global_.model.encoder": "vector"},
            {"override /bottleneck@_global_.model.bottleneck": "gaussian"},
            {"override /objective@_global_.model.objective": "vae"},
            "_self_",
        ],
        "encoder": {
            "widths": [width, 2 * width, 4 * width, 8 * width],
            "latent_channels": model.whole("embedding_size", 512),
        },
    }
    return Imported("model", f"{PREFIX}{name}", made, comments=notes)


def _subset(name: str, data: Section, notes: list[str]) -> Imported:
    subset = data.whole("dataset_subset", 1) if "dataset_subset" in data else None
    return Imported("subset", f"{PREFIX}{name}", {"subset": subset}, "datamodule", notes, root=None)
