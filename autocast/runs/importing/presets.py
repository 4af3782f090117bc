"""The JSON of `train_unified.py`: a base, and presets of the loss, the training, the model and the data."""

from __future__ import annotations

import re
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
    "dataset_dir": "give --dataset DIR",
    "model_save_path": "give --workdir DIR",
    "input_img_size": OWN_GRID,
    "generation_weight": NO_QUALITY,
    "use_generation_quality": NO_QUALITY,
    "adaptive_kl_control": NO_CONTROL,
    "adaptive_mse_l1_control": NO_CONTROL,
    "stage_based_training": NO_CONTROL,
    "mse_priority_phase": "take training=mse_priority_training",
}
"""Keys without a counterpart, wherever they are."""
OF_LOSS = ("beta", *USES.values(), *(f"{term}_weight" for term in USES), *SCHEDULES)
OF_TRAINING = ("max_epoch", "batch_size", "lr", "optimizer", "weight_decay", *SCHEDULES)
OF_MODEL = ("embedding_size", "num_channels")
OF_DATA = ("dataset_subset",)
OPTIMIZERS = ("adam", "adamw")
NAME = re.compile(r"[\w.-]+", re.ASCII)
"""What an option of a config group, which is a file, may be called."""


def read(document: dict[str, Any], stem: str, findings: Findings) -> list[Imported]:  # noqa: ARG001
    """Every preset of a file, on top of its base, as an option of a config group."""
    top = Section("", document, SECTIONS, findings)
    known = (*OF_LOSS, *OF_TRAINING, *OF_MODEL, *OF_DATA, *TOLD)
    base = Section(BASE, top.values.get(BASE, {}), known, findings)
    base.tell(TOLD)
    made = [
        *(_loss(*preset) for preset in _presets(top, LOSSES, OF_LOSS, base)),
        *(_training(*preset) for preset in _presets(top, TRAININGS, OF_TRAINING, base)),
        *(_model(*preset) for preset in _presets(top, MODELS, OF_MODEL, base)),
        *(_subset(*preset) for preset in _presets(top, DATA, OF_DATA, base)),
    ]
    return [] if findings.problems else made


def _presets(top: Section, group: str, known: tuple[str, ...], base: Section) -> Iterator[tuple[str, Section]]:
    presets = Section(group, top.values.get(group, {}), top.values.get(group, {}), top.findings)
    for name, values in presets.values.items():
        if not NAME.fullmatch(name):
            top.findings.refuse(f"{group}.{name}", "becomes the name of a file. Letters, digits, '_', '-', '.' only.")
        section = Section(f"{group}.{name}", values, (*known, *TOLD), top.findings, base)
        section.tell(TOLD)
        yield name, section


def _loss(name: str, loss: Section) -> Imported:
    weights = _reconstruction(loss)
    if not weights:
        switches = ", ".join(f"{switch} with {term}_weight" for term, switch in USES.items())
        loss.findings.refuse(loss.path, f"nothing is reconstructed. Give one of {switches}.")
    terms = {term: TERMS[term]() for term in weights} | {"kl": kl_term()}
    weights["kl"] = _schedule(loss, "beta") or loss.number("beta", 1.0)
    made = objective(terms, weights)
    side = loss.whole("input_img_size", 64)
    comment = None if loss.findings.problems else beta_comment(made, (side, side, 3))
    return Imported("objective", f"{PREFIX}{name}", made, comments=[comment] if comment else [])


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


def _training(name: str, training: Section) -> Imported:
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
    schedules = {"kl": _schedule(training, "beta"), "perceptual": _schedule(training, "perceptual")}
    weights = {term: schedule for term, schedule in schedules.items() if schedule}
    comments = [f"Only for objectives with the terms {', '.join(weights)}."] if weights else []
    return Imported(
        "training",
        f"{PREFIX}{name}",
        {**made, **({"model": {"objective": {"weights": weights}}} if weights else {})},
        GLOBAL,
        comments,
    )


def _model(name: str, model: Section) -> Imported:
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
    return Imported("model", f"{PREFIX}{name}", made)


def _subset(name: str, data: Section) -> Imported:
    subset = data.whole("dataset_subset", 0) if "dataset_subset" in data else None
    if subset is not None and subset < 1:
        data.findings.refuse(
            data.name("dataset_subset"), f"{subset}: a whole number from 1 is wanted, or null for all."
        )
    return Imported("subset", f"{PREFIX}{name}", {"subset": subset}, "datamodule", root=None)
