"""What a config says of an objective: which terms it has, and what their weights end at. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SQUARED_ERROR, KL = "autocast.losses.terms.SquaredError", "autocast.losses.terms.KL"
ADVERSARIAL, PERCEPTUAL = "autocast.losses.adversarial.Adversarial", "autocast.losses.perceptual.Perceptual"


def objective_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`model.objective` of a resolved config; empty where it has none."""
    return config.get("model", {}).get("objective") or {}


def term_of(objective: Mapping[str, Any], target: str) -> str | None:
    """The name of the first term of a class, by its `_target_`."""
    terms = objective.get("terms", {}).items()
    return next((name for name, leaf in terms if leaf and leaf["_target_"] == target), None)


def final_weight(weight: Any) -> float | None:
    """What a weight, a number or an annealing as it stands in a config, ends at; None where it cannot be told."""
    if not isinstance(weight, Mapping):
        return weight
    if "points" in weight:
        return weight["points"][-1][1]
    return final_weight(weight["then"]) if "then" in weight else weight.get("weight")
