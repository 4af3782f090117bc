"""Values of a right type that still cannot be: what constructors and sections would refuse, told before a run is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autocast.runs.spine import ROOTS, dataclass_name

NORMALISATIONS = ("zscore", "rms", "minmax", "none")
PLACEMENTS = ("auto", "disk", "ram", "device")
"""Of `FieldDataModule`, which needs torch to be asked."""
LENGTH = re.compile(r"\s*\d+(?:\.\d+)?\s*(epochs?|%)\s*")
"""Of a training, where it is not a number of optimiser steps."""

Wanted = Callable[[Any], str | None]
"""What is wanted instead of a value that has its type; None where it will do."""


def _at_least(least: int) -> Wanted:
    return lambda value: None if value >= least else f"at least {least} is wanted"


def _above_zero(value: Any) -> str | None:
    return None if value > 0 else "a number above 0 is wanted"


def _one_of(names: tuple[str, ...]) -> Wanted:
    return lambda value: None if value in names else f"one of {', '.join(names)} is wanted"


def _subset(value: Any) -> str | None:
    if value >= 1 if isinstance(value, int) else 0 < value <= 1:
        return None
    return (
        "a whole number of trajectories from 1, a share of them above 0.0 and up to 1.0, or null for all of them is "
        "wanted"
    )


def _size(value: Any) -> str | None:
    sides = [value] if isinstance(value, int) else value
    if (isinstance(value, int) or len(sides) == 2) and all(side >= 1 for side in sides):
        return None
    return "[height,width] in pixels, one number for both, or null is wanted"


def _length(value: Any) -> str | None:
    if LENGTH.fullmatch(value) if isinstance(value, str) else value >= 0:
        return None
    return "a length is wanted: optimiser steps (1000), '5 epochs', or '20 %' of the run"


_COUNT, _NUMBER = _at_least(1), _at_least(0)
_ANNEALING = "autocast.losses.annealing"
RANGES: dict[str, dict[str, Wanted]] = {
    "autocast.data.datamodule.FieldDataModule": {
        "n_steps_input": _COUNT,
        "n_steps_output": _NUMBER,
        "batch_size": _COUNT,
        "stride": _COUNT,
        "n_windows": _COUNT,
        "n_workers": _NUMBER,
        "memory_limit": _NUMBER,
        "seed": _NUMBER,
        "normalisation": _one_of(NORMALISATIONS),
        "placement": _one_of(PLACEMENTS),
        "size": _size,
        "subset": _subset,
    },
    **{f"{_ANNEALING}.{name}": {"warmup": _length} for name in ("Linear", "Sigmoid", "Cosine")},
    f"{_ANNEALING}.Cyclical": {"period": _length},
    f"{_ANNEALING}.Delayed": {"delay": _length},
    **{dataclass_name(name): {"seed": _NUMBER, "batch_size": _COUNT, "kl_warmup": _length} for name in ROOTS.values()},
    dataclass_name("Training"): {"n_windows": _COUNT},
    dataclass_name("Samples"): {"first_epochs": _NUMBER, "every_n_epochs": _COUNT, "n_frames": _COUNT},
    dataclass_name("Rescue"): {"kl_factor": _above_zero, "kl_at_most": _above_zero},
}
"""By what is constructed, or the dataclass of a section, and by keyword."""
