"""How good forecasts are: beside baselines, an autoencoder's floor, other ways of rolling out, and the simulator."""

from __future__ import annotations

import numpy as np
import pandas as pd

from autocast.diagnosis import LOSSY
from autocast.evaluation.findings import (
    HEADLINE_LEADS,
    Finding,
    Mark,
    duration,
    grade,
    headline_kind,
    join,
    number,
    percent,
)
from autocast.evaluation.result import (
    CARRIES,
    CLIMATOLOGY,
    LINEAR,
    MEMBER,
    PERSISTENCE,
    RECONSTRUCTION,
    SIMULATOR_HALF,
    SIMULATOR_QUARTER,
)
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.simulator_cost import compare_simulators

GOALS = {PERSISTENCE: "persistence", CLIMATOLOGY: "climatology", LINEAR: "the linear map"}
"""Baselines to beat, as sentences call them."""
SIMULATOR_NAMES = {SIMULATOR_HALF: "half resolution", SIMULATOR_QUARTER: "a quarter of the resolution"}
GOOD_FLOOR, TOLERABLE_FLOOR = LOSSY, 0.2
NO_COMPRESSION = 1e-5
TOLERABLE_DRIFT = 1.05
"""Ratio of the VRMSE of the model's mode to that of the other one."""


def baselines(result: Result) -> Finding | None:
    """Until when the model is better than each baseline."""
    ratios = vrmse_ratios(result)
    if ratios.empty:
        return None
    until = {str(name): better_until(ratios[name]) for name in ratios}
    n_steps = int(ratios.index[-1])
    mark: Mark = "good" if min(until.values()) == n_steps else "warn" if min(until.values()) > 0 else "bad"
    if mark == "good":
        return Finding(
            "baselines", mark, f"Better than {join([GOALS[name] for name in until])} at every lead (1 to {n_steps})."
        )
    better = [f"than {GOALS[name]} {_until(lead, n_steps)}" for name, lead in until.items() if lead]
    worse = [name for name, lead in until.items() if not lead]
    phrases = [f"better {', '.join(better)} (of {n_steps})"] if better else []
    phrases += [f"not better than {join([GOALS[name] for name in worse])} at lead 1"] if worse else []
    text = "; ".join(phrases)
    return Finding("baselines", mark, f"{text[0].upper()}{text[1:]}.")


def accuracy(result: Result) -> Finding | None:
    """VRMSE of the headline forecast, and its largest ratios to the baselines'."""
    vrmse = result.series("vrmse", headline_kind(result))
    if vrmse.empty:
        return None
    last = min(HEADLINE_LEADS, int(vrmse.index[-1]))
    who = f"the mean of {result.n_members} members" if result.n_members > 1 else "the forecast"
    span = f"{number(vrmse.iloc[0])} at lead {vrmse.index[0]}"
    span += f" and {number(vrmse.loc[last])} at lead {last}" if last > vrmse.index[0] else ""
    worst = vrmse_ratios(result).loc[:last].max(skipna=False)
    if worst.empty:
        return Finding("accuracy", grade(vrmse.loc[:last].max(), 0.5, 1.0), f"VRMSE of {who}: {span}.")
    ratios = join([f"{number(ratio)} of {GOALS[str(name)]}'s" for name, ratio in worst.items()])
    leads = f"leads 1 to {last}" if last > 1 else "lead 1"
    text = f"VRMSE of {who}: {span}; over {leads} at most {ratios}."
    return Finding("accuracy", grade(worst.max(), 0.5, 1.0), text)


def floor(result: Result) -> Finding | None:
    """What the autoencoder alone loses."""
    floor = reconstruction_floor(result)
    if floor is None:
        return None
    text = f"The autoencoder alone loses {percent(floor)} (VRMSE {number(floor)}): no forecast gets below that."
    return Finding("floor", grade(floor, GOOD_FLOOR, TOLERABLE_FLOOR), text)


def rollout(result: Result) -> Finding | None:
    """Whether carrying latents or fields from window to window is better."""
    mode = str(result.provenance.get("rollout", {}).get("mode"))
    other = next((name for name in CARRIES if not result.series("vrmse", MEMBER, name).empty), None)
    if mode not in CARRIES or other is None:
        return None
    own, others = result.series("vrmse", MEMBER), result.series("vrmse", MEMBER, other)
    last = min(HEADLINE_LEADS, int(own.index[-1]))
    text = f"One member that carries {CARRIES[mode]}: VRMSE {number(own.loc[last])} at lead {last}; "
    text += f"{CARRIES[other]}: {number(others.loc[last])}"
    means = [float(series.loc[:last].mean(skipna=False)) for series in (own, others)]
    if not means[0] > TOLERABLE_DRIFT * means[1] and not (np.isnan(means[0]) and np.isfinite(means[1])):
        return Finding("rollout", "good", f"{text}.")
    return Finding("rollout", "warn", f"{text}. Better: eval.rollout={other}.")


def cost(result: Result) -> Finding | None:
    """Time of a step and member."""
    timing = result.provenance.get("timing")
    if not timing:
        return None
    seconds = float(timing["seconds_per_step_and_member"])
    included = ", compilation included" if timing["compiled"] else ""
    return Finding("cost", "good", f"{duration(seconds)} a step and member on {timing['device']}{included}.")


def simulators(result: Result) -> Finding | None:
    """No goals to beat: what less computing buys without a model."""
    vrmse = result.series("vrmse", headline_kind(result))
    last = min(HEADLINE_LEADS, int(vrmse.index[-1])) if len(vrmse) else 0
    compared = compare_simulators(result, headline_kind(result), last)
    if not compared:
        return None
    whose = "the model's time" if result.n_members == 1 else f"the time of the model's {result.n_members} members"
    phrases = [
        f"at {SIMULATOR_NAMES[each.name]}: {_vrmse(each.vrmse)} at lead {last} (the model "
        f"{number(each.model_vrmse)}), {_times(each.time_ratio)} times {whose}"
        for each in compared
    ]
    mark: Mark = "bad" if any(each.dominates for each in compared) else "good"
    return Finding("simulator", mark, f"The simulator {'; '.join(phrases)}.")


def vrmse_ratios(result: Result) -> pd.DataFrame:
    """VRMSE of the model's headline forecast over each baseline's: indexed by lead time, a column per baseline."""
    model = result.series("vrmse", headline_kind(result))
    series = {name: result.series("vrmse", MEMBER, name) for name in GOALS}
    return pd.DataFrame({name: model / values for name, values in series.items() if not values.empty})


def better_until(ratios: pd.Series) -> int:
    """The last lead time up to which the model is always better (a ratio below 1); 0 if it never is."""
    worse = ratios.index[~(ratios < 1)]
    return int(worse[0]) - 1 if len(worse) else int(ratios.index[-1])


def reconstruction_floor(result: Result) -> float | None:
    """VRMSE of the truth through the autoencoder, averaged over the rollout; None where nothing is compressed."""
    floor = result.series("vrmse", MEMBER, RECONSTRUCTION)
    if floor.empty or not floor.mean() > NO_COMPRESSION:
        return None
    return float(floor.mean())


def _until(lead: int, n_steps: int) -> str:
    return "at every lead" if lead == n_steps else f"until lead {lead}"


def _vrmse(value: float) -> str:
    return f"VRMSE {number(value)}" if np.isfinite(value) else "not finite"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}"
