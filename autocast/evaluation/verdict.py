"""Is it any good? An evaluation in a few marked sentences: the report's first screen and the closing panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from autocast.evaluation.result import (
    ALL_CHANNELS,
    CALIBRATED,
    CARRIES,
    CLIMATOLOGY,
    ENSEMBLE,
    LINEAR,
    MEAN,
    MEMBER,
    MODEL,
    PERSISTENCE,
    RECONSTRUCTION,
    SIMULATOR_HALF,
    SIMULATOR_QUARTER,
    Calibration,
)
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.simulator_cost import compare_simulators
from autocast.evaluation.spectral_reach import TOLERANCE, spectral_reaches
from autocast.evaluation.validity import WHOLE, validity, worst_blow_up
from autocast.metrics.catalogue import VALID_CORRELATION

Mark = Literal["good", "warn", "bad"]

GOALS = {PERSISTENCE: "persistence", CLIMATOLOGY: "climatology", LINEAR: "the linear map"}
"""Baselines to beat, as sentences call them."""
SIMULATOR_NAMES = {SIMULATOR_HALF: "half resolution", SIMULATOR_QUARTER: "a quarter of the resolution"}
HEADLINE_LEADS = 8
FITTING_SSR = (0.8, 1.25)
TOLERABLE_SSR = (0.5, 2.0)
TOLERABLE_COVERAGE = (0.05, 0.1)
"""Largest distance of a calibrated interval's coverage from its level that is good, and that is tolerable."""
GOOD_FLOOR, TOLERABLE_FLOOR = 0.05, 0.2
NO_COMPRESSION = 1e-5
TOLERABLE_SATURATION = 0.05
TOLERABLE_DRIFT = 1.05
"""Ratio of the VRMSE of the model's mode to that of the other one."""
MOSTLY = 0.9
"""Share of trajectories that ends within the data's range."""
TOLERABLE_BLOW_UP = 0.05
GOOD_RELIABILITY, TOLERABLE_RELIABILITY = 0.05, 0.15
MOST_NAMED = 4
"""Channels that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict."""

    topic: str
    mark: Mark
    text: str


def verdict(result: Result) -> list[Finding]:
    """What an evaluation found, the most important first."""
    if result.reconstructs:
        findings = [_stability(result), _loss(result), _reach(result), _latents(result), _cost(result)]
        return [finding for finding in findings if finding]
    findings = [
        _stability(result), _baselines(result), _accuracy(result), _valid_time(result), _blow_up(result),
        _spread(result), _reliability(result), _calibration(result), _floor(result), _rollout(result),
        _stress(result), _cost(result), _simulators(result),
    ]  # fmt: skip
    return [finding for finding in findings if finding]


def headline_kind(result: Result) -> str:
    """The forecast that stands for the model: the mean of its members, or its only one."""
    return MEAN if result.n_members > 1 else MEMBER


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


def _stability(result: Result) -> Finding | None:
    vrmse = result.series("vrmse", MEMBER)
    lost = vrmse.index[~np.isfinite(vrmse.to_numpy())]
    if not len(lost):
        return None
    return Finding("stability", "bad", f"The forecast is not finite in some trajectory from lead {lost[0]} on.")


def _stress(result: Result) -> Finding | None:
    """How rollouts far beyond the data end."""
    stress = result.stress
    if stress is None:
        return None
    n, lost = len(stress.lost_at), stress.lost_at[stress.lost_at > 0]
    start = f"{stress.n_steps:,} steps from {n} trajectories"
    if len(lost):
        return Finding("stress", "bad", f"{start}: {len(lost)} blow up, the first at lead {lost.min():,}.")
    end = stress.table[stress.table.lead_time == stress.n_steps]
    strayed = [str(channel) for channel, share in zip(end.channel, end.within, strict=True) if share < MOSTLY]
    if not strayed:
        return Finding("stress", "good", f"{start}: none blows up, and mean and std over space end as in the data.")
    named = _join(strayed[:MOST_NAMED], names={})
    return Finding("stress", "warn", f"{start}: none blows up, but {named} end outside of what the data show.")


def _baselines(result: Result) -> Finding | None:
    ratios = vrmse_ratios(result)
    if ratios.empty:
        return None
    until = {str(name): better_until(ratios[name]) for name in ratios}
    n_steps = int(ratios.index[-1])
    mark: Mark = "good" if min(until.values()) == n_steps else "warn" if min(until.values()) > 0 else "bad"
    if mark == "good":
        return Finding("baselines", mark, f"Better than {_join(list(until))} at every lead (1 to {n_steps}).")
    better = [f"than {GOALS[name]} {_until(lead, n_steps)}" for name, lead in until.items() if lead]
    worse = [name for name, lead in until.items() if not lead]
    phrases = [f"better {', '.join(better)} (of {n_steps})"] if better else []
    phrases += [f"not better than {_join(worse)} at lead 1"] if worse else []
    text = "; ".join(phrases)
    return Finding("baselines", mark, f"{text[0].upper()}{text[1:]}.")


def _valid_time(result: Result) -> Finding | None:
    found = validity(result, "valid_time_correlation")
    if found is None:
        return None
    who = f"The mean of {result.n_members} members" if result.n_members > 1 else "The forecast"
    stays = f"{who} can be trusted (correlation with the truth at least {VALID_CORRELATION:g})"
    time = found.mean * result.spec.time_step
    if found.complete.all():
        return Finding(
            "valid_time", "good", f"{stays} to the end of every trajectory ({found.mean:.3g} steps, t = {time:.3g})."
        )
    if found.mean == 0:
        text = f"{who} cannot be trusted: at lead 1 its correlation with the truth is below {VALID_CORRELATION:g}."
        return Finding("valid_time", "bad", text)
    interval = "" if np.isnan(found.low) else f", 95 % interval {found.low:.3g} to {found.high:.3g}"
    text = f"{stays} for {found.mean:.3g} of {result.n_steps} steps (t = {time:.3g}{interval})"
    to_the_end = _percent(found.share_complete) if found.share_complete else "none"
    mark: Mark = "warn" if found.mean >= 1 else "bad"
    return Finding("valid_time", mark, f"{text}; to the end in {to_the_end} of the trajectories.")


def _blow_up(result: Result) -> Finding | None:
    worst = worst_blow_up(result)
    if worst is None:
        return None
    lead, share, channel = worst
    if share == 0:
        who = "No member" if result.n_members > 1 else "No forecast"
        return Finding("blow_up", "good", f"{who} blew up in {result.n_steps} steps.")
    who = "members" if result.n_members > 1 else "forecasts"
    where = f", in {channel}" if result.spec.n_channels > 1 else ""
    mark: Mark = "warn" if share <= TOLERABLE_BLOW_UP else "bad"
    return Finding("blow_up", mark, f"{_percent(share)} of the {who} had blown up by lead {lead}{where}.")


def _reliability(result: Result) -> Finding | None:
    """How far the central intervals are from holding the truth as often as they say, over the whole rollout."""
    table = result.coverage
    rows = None if table is None else table[(table.window == WHOLE) & (table.channel == ALL_CHANNELS)]
    if rows is None or rows.coverage.dropna().empty:
        return None
    off = rows.coverage - rows.level
    error, mean = float(off.abs().mean()), float(off.mean())
    mark = _grade(error, GOOD_RELIABILITY, TOLERABLE_RELIABILITY)
    if mark == "good":
        text = f"The ensemble's intervals hold the truth as often as they say, within {100 * error:.2g} % points."
        return Finding("reliability", mark, text)
    word = "less" if mean < 0 else "more"
    text = f"The ensemble's intervals hold the truth {word} often than they say: {100 * error:.2g} % points off."
    return Finding("reliability", mark, text)


def _until(lead: int, n_steps: int) -> str:
    return "at every lead" if lead == n_steps else f"until lead {lead}"


def _accuracy(result: Result) -> Finding | None:
    vrmse = result.series("vrmse", headline_kind(result))
    if vrmse.empty:
        return None
    last = min(HEADLINE_LEADS, int(vrmse.index[-1]))
    who = f"the mean of {result.n_members} members" if result.n_members > 1 else "the forecast"
    span = f"{_number(vrmse.iloc[0])} at lead {vrmse.index[0]}"
    span += f" and {_number(vrmse.loc[last])} at lead {last}" if last > vrmse.index[0] else ""
    worst = vrmse_ratios(result).loc[:last].max(skipna=False)
    if worst.empty:
        return Finding("accuracy", _grade(vrmse.loc[:last].max(), 0.5, 1.0), f"VRMSE of {who}: {span}.")
    ratios = _join([f"{_number(ratio)} of {GOALS[str(name)]}'s" for name, ratio in worst.items()], names={})
    leads = f"leads 1 to {last}" if last > 1 else "lead 1"
    text = f"VRMSE of {who}: {span}; over {leads} at most {ratios}."
    return Finding("accuracy", _grade(worst.max(), 0.5, 1.0), text)


def _spread(result: Result) -> Finding | None:
    if result.deterministic:
        return Finding("spread", "warn", "One deterministic forecast: it does not say how sure it is.")
    ssr = result.series("ssr", ENSEMBLE)
    if ssr.empty:
        return None
    low, high = float(ssr.min()), float(ssr.max())
    ends = f"ssr {_number(ssr.iloc[0])} at lead {ssr.index[0]}"
    ends += f", {_number(ssr.iloc[-1])} at {ssr.index[-1]}" if len(ssr) > 1 else ""
    mark: Mark = "bad"
    if FITTING_SSR[0] <= low and high <= FITTING_SSR[1]:
        mark = "good"
    elif TOLERABLE_SSR[0] <= low and high <= TOLERABLE_SSR[1]:
        mark = "warn"
    return Finding("spread", mark, f"{_fit(low, high)} ({ends}).")


def _fit(low: float, high: float) -> str:
    if FITTING_SSR[0] <= low and high <= FITTING_SSR[1]:
        return "Spread fits the error"
    if low < FITTING_SSR[0] and high > FITTING_SSR[1]:
        return "Spread is too small at some leads and too large at others"
    if low < FITTING_SSR[0]:
        return "Spread is smaller than the error: the members are too sure"
    return "Spread is larger than the error: the members are not sure enough" if high > 0 else "Spread is not defined"


def _calibration(result: Result) -> Finding | None:
    calibration = result.calibration
    if calibration is None:
        return None
    fitted = f"calibrated on {calibration.n_trajectories} validation trajectories"
    if calibration.ranks is None:
        return _conformal(calibration, fitted)
    after, before = (result.series("ssr", ENSEMBLE, model) for model in (CALIBRATED, MODEL))
    low, high = float(after.min()), float(after.max())
    mark: Mark = "good" if FITTING_SSR[0] <= low and high <= FITTING_SSR[1] else "warn"
    return Finding("calibration", mark, f"Spread-{fitted}: ssr {_span(after)} (was {_span(before)}).")


def _conformal(calibration: Calibration, fitted: str) -> Finding:
    level, after = calibration.shown_level, calibration.coverage_at_level(CALIBRATED)["coverage"]
    before = calibration.coverage_at_level(MODEL)["coverage"]
    was = "" if before.empty else f" (was {_span(before)})"
    mark = _grade(float((after - level).abs().max(skipna=False)), *TOLERABLE_COVERAGE)
    text = f"Intervals of level {_number(level)}, {fitted}, hold {_span(after)} of the truth{was}."
    return Finding("calibration", mark, text)


def _span(values: pd.Series) -> str:
    """The smallest and the largest."""
    return f"{_number(float(values.min()))} to {_number(float(values.max()))}"


def _floor(result: Result) -> Finding | None:
    floor = reconstruction_floor(result)
    if floor is None:
        return None
    text = f"The autoencoder alone loses {_percent(floor)} (VRMSE {_number(floor)}): no forecast gets below that."
    return Finding("floor", _grade(floor, GOOD_FLOOR, TOLERABLE_FLOOR), text)


def _rollout(result: Result) -> Finding | None:
    """Whether carrying latents or fields from window to window is better."""
    mode = str(result.provenance.get("rollout", {}).get("mode"))
    other = next((name for name in CARRIES if not result.series("vrmse", MEMBER, name).empty), None)
    if mode not in CARRIES or other is None:
        return None
    own, others = result.series("vrmse", MEMBER), result.series("vrmse", MEMBER, other)
    last = min(HEADLINE_LEADS, int(own.index[-1]))
    text = f"One member that carries {CARRIES[mode]}: VRMSE {_number(own.loc[last])} at lead {last}; "
    text += f"{CARRIES[other]}: {_number(others.loc[last])}"
    if own.loc[:last].mean() <= TOLERABLE_DRIFT * others.loc[:last].mean():
        return Finding("rollout", "good", f"{text}.")
    return Finding("rollout", "warn", f"{text}. Better: eval.rollout={other}.")


def _loss(result: Result) -> Finding | None:
    vrmse = result.series("vrmse", MEMBER)
    if vrmse.empty:
        return None
    channels = {name: result.series("vrmse", MEMBER, channel=name).mean() for name in result.spec.channel_names}
    worst = sorted(channels, key=lambda name: -channels[name])
    named = list(channels) if len(channels) <= MOST_NAMED else worst[:MOST_NAMED]
    mean = float(vrmse.mean(skipna=False))
    text = f"Encoding and decoding loses {_percent(mean)} (VRMSE {_number(mean)}"
    if len(channels) > 1:
        text += ": " if len(named) == len(channels) else "; most of "
        text += ", ".join(f"{name} {_number(channels[name])}" for name in named)
    return Finding("reconstruction", _grade(mean, GOOD_FLOOR, TOLERABLE_FLOOR), f"{text}).")


def _reach(result: Result) -> Finding | None:
    """Of the channel that loses most: how fine the structures are that it keeps."""
    reaches = spectral_reaches(result)
    if not reaches:
        return None
    worst = max(reaches, key=lambda reach: reach.beyond)
    mark = _grade(worst.beyond, GOOD_FLOOR**2, TOLERABLE_FLOOR**2)
    tolerance = _percent(TOLERANCE)
    if all(reach.complete for reach in reaches):
        return Finding("spectrum", mark, f"Power spectra agree within {tolerance} at every wavenumber.")
    of = f" of {worst.channel}" if len(reaches) > 1 else ""
    if worst.wavenumber is None:
        return Finding("spectrum", "bad", f"The power spectrum{of} is off by more than {tolerance} from the start.")
    text = f"The power spectrum{of} agrees within {tolerance} up to wavenumber {_number(worst.wavenumber)} (waves of "
    text += f"{worst.points:.2g} points); {_percent(worst.beyond)} of its power lies beyond."
    return Finding("spectrum", mark, text)


def _latents(result: Result) -> Finding | None:
    latents = result.latents
    if latents is None:
        return None
    text = f"{latents.n_values:,} numbers become {latents.n_latents:,} ({latents.compression:.3g} times fewer). "
    text += f"{latents.n_active} of {latents.n_channels} latent channels are active, participation ratio "
    text += f"{latents.participation_ratio:.3g}."
    if latents.saturated > TOLERABLE_SATURATION:
        text += f" {_percent(latents.saturated)} of the values are near the bound."
    fine = latents.n_active == latents.n_channels and latents.saturated <= TOLERABLE_SATURATION
    return Finding("latents", "good" if fine else "warn", text)


def _cost(result: Result) -> Finding | None:
    timing = result.provenance.get("timing")
    if not timing:
        return None
    seconds = float(timing["seconds_per_step_and_member"])
    included = ", compilation included" if timing["compiled"] else ""
    return Finding("cost", "good", f"{_duration(seconds)} a step and member on {timing['device']}{included}.")


def _simulators(result: Result) -> Finding | None:
    """No goals to beat: what less computing buys without a model."""
    vrmse = result.series("vrmse", headline_kind(result))
    last = min(HEADLINE_LEADS, int(vrmse.index[-1])) if len(vrmse) else 0
    compared = compare_simulators(result, headline_kind(result), last)
    if not compared:
        return None
    whose = "the model's time" if result.n_members == 1 else f"the time of the model's {result.n_members} members"
    phrases = [
        f"at {SIMULATOR_NAMES[each.name]}: {_vrmse(each.vrmse)} at lead {last} (the model "
        f"{_number(each.model_vrmse)}), {_times(each.time_ratio)} times {whose}"
        for each in compared
    ]
    mark: Mark = "bad" if any(each.dominates for each in compared) else "good"
    return Finding("simulator", mark, f"The simulator {'; '.join(phrases)}.")


def _vrmse(value: float) -> str:
    return f"VRMSE {_number(value)}" if np.isfinite(value) else "not finite"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}"


def _grade(value: float, good: float, tolerable: float) -> Mark:
    if value <= good:
        return "good"
    return "warn" if value <= tolerable else "bad"


def _number(value: float) -> str:
    """Three digits, as in ".036" or "1.24"."""
    text = f"{value:.3f}" if abs(value) < 1 else f"{value:.3g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"


def _join(words: list[str], names: dict[str, str] | None = None) -> str:
    """ "a, b and c", by the names that sentences give them."""
    words = [(GOALS if names is None else names).get(word, word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
