"""Baselines that are simulators beside the model: what is asked of them is accuracy for its cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autocast.evaluation.result import MEMBER, MODEL, SIMULATORS, EvaluationResult


@dataclass(frozen=True)
class SimulatorComparison:
    """A simulator's forecast and the model's at one lead time."""

    name: str
    """Of `SIMULATORS`."""
    lead_time: int
    vrmse: float
    model_vrmse: float
    time_ratio: float
    """Its time over that of the model's forecast, which for the mean of members is that of all of them."""

    @property
    def dominates(self) -> bool:
        """At least as accurate for no more time."""
        return self.vrmse <= self.model_vrmse and self.time_ratio <= 1


def compare_simulators(result: EvaluationResult, kind: str, lead_time: int) -> list[SimulatorComparison]:
    """Every simulator that was scored, beside the model's forecast of a kind."""
    model = result.series("vrmse", kind)
    own_time = seconds_per_step(result, MODEL, kind)
    found = []
    for name in SIMULATORS:
        vrmse = result.series("vrmse", MEMBER, name)
        if not vrmse.empty and not model.empty:
            ratio = seconds_per_step(result, name) / own_time
            scores = float(vrmse.loc[lead_time]), float(model.loc[lead_time])
            found.append(SimulatorComparison(name, lead_time, *scores, ratio))
    return found


def seconds_per_step(result: EvaluationResult, model: str, kind: str = MEMBER) -> float:
    """What a step of one trajectory takes; not a number where it was not measured."""
    timing = result.provenance.get("timing", {})
    if model == MODEL:
        n_members = 1 if kind == MEMBER else result.n_members
        return n_members * float(timing.get("seconds_per_step_and_member", math.nan))
    return float(timing.get("baselines", {}).get(model, {}).get("seconds_per_step", math.nan))
