"""The weight of a KL term in the units of an ELBO, from a config alone.

An objective `w mse + v kl` has the same minimum as a beta-VAE that sums squared errors over the `N` numbers of a frame
with beta = `v / w`; where the objective takes the mean over them, beta = `N v / w`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from autocast.objective_config import KL, SQUARED_ERROR, final_weight, term_of

MEAN = "mean"

Leaf = Mapping[str, Any]


def kl_beta(objective: Leaf, n_numbers: int | None) -> float | None:
    """Beta in the end of a training; None without a KL term, or where it cannot be told.

    Args:
        objective: `model.objective` of a config.
        n_numbers: Of a frame, in all channels; None is unknown.
    """
    weight, unit = _weight_of(objective, KL), kl_unit(objective, n_numbers)
    return None if weight is None or unit is None else weight * unit


def kl_unit(objective: Leaf, n_numbers: int | None) -> float | None:
    """Beta at a weight of 1 of the KL term; None where it cannot be told: without a squared error, or where it is a
    mean over an unknown number of numbers."""
    squared = _weight_of(objective, SQUARED_ERROR)
    n = n_numbers if objective.get("reduction", MEAN) == MEAN else 1
    return n / squared if n and squared else None


def count_numbers(spec: Mapping[str, Any]) -> int:
    """The numbers of a frame, from the record of a `FieldSpec`."""
    return prod(spec["grid_shape"]) * len(spec["channel_names"])


def _weight_of(objective: Leaf, target: str) -> float | None:
    name = term_of(objective, target)
    return None if name is None else final_weight(objective["weights"].get(name))
