"""Whether an ensemble says how sure it is, before and after calibration."""

from __future__ import annotations

import pandas as pd

from autocast.evaluation.findings import Finding, Mark, grade, number
from autocast.evaluation.result import ALL_CHANNELS, CALIBRATED, ENSEMBLE, MODEL, Calibration
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.validity import WHOLE

FITTING_SSR = (0.8, 1.25)
TOLERABLE_SSR = (0.5, 2.0)
TOLERABLE_COVERAGE = (0.05, 0.1)
"""Largest distance of a calibrated interval's coverage from its level that is good, and that is tolerable."""
GOOD_RELIABILITY, TOLERABLE_RELIABILITY = 0.05, 0.15


def spread(result: Result) -> Finding | None:
    """Whether the spread fits the error."""
    if result.deterministic:
        return Finding("spread", "warn", "One deterministic forecast: it does not say how sure it is.")
    ssr = result.series("ssr", ENSEMBLE)
    if ssr.empty:
        return None
    low, high = float(ssr.min()), float(ssr.max())
    ends = f"ssr {number(ssr.iloc[0])} at lead {ssr.index[0]}"
    ends += f", {number(ssr.iloc[-1])} at {ssr.index[-1]}" if len(ssr) > 1 else ""
    mark: Mark = "bad"
    if FITTING_SSR[0] <= low and high <= FITTING_SSR[1]:
        mark = "good"
    elif TOLERABLE_SSR[0] <= low and high <= TOLERABLE_SSR[1]:
        mark = "warn"
    return Finding("spread", mark, f"{_fit(low, high)} ({ends}).")


def reliability(result: Result) -> Finding | None:
    """How far the central intervals are from holding the truth as often as they say, over the whole rollout."""
    table = result.coverage
    rows = None if table is None else table[(table.window == WHOLE) & (table.channel == ALL_CHANNELS)]
    if rows is None or rows.coverage.dropna().empty:
        return None
    off = rows.coverage - rows.level
    error, mean = float(off.abs().mean()), float(off.mean())
    mark = grade(error, GOOD_RELIABILITY, TOLERABLE_RELIABILITY)
    if mark == "good":
        text = f"The ensemble's intervals hold the truth as often as they say, within {100 * error:.2g} % points."
        return Finding("reliability", mark, text)
    word = "less" if mean < 0 else "more"
    text = f"The ensemble's intervals hold the truth {word} often than they say: {100 * error:.2g} % points off."
    return Finding("reliability", mark, text)


def calibration(result: Result) -> Finding | None:
    """What a calibration has made of it."""
    calibration = result.calibration
    if calibration is None:
        return None
    fitted = f"calibrated on {calibration.n_trajectories} validation trajectories"
    if calibration.ranks is None:
        return _conformal(calibration, fitted)
    after, before = (result.series("ssr", ENSEMBLE, model) for model in (CALIBRATED, MODEL))
    low, high = float(after.min(skipna=False)), float(after.max(skipna=False))
    mark: Mark = "good" if FITTING_SSR[0] <= low and high <= FITTING_SSR[1] else "warn"
    return Finding("calibration", mark, f"Spread-{fitted}: ssr {_span(after)} (was {_span(before)}).")


def _conformal(calibration: Calibration, fitted: str) -> Finding:
    level, after = calibration.shown_level, calibration.coverage_at_level(CALIBRATED)["coverage"]
    before = calibration.coverage_at_level(MODEL)["coverage"]
    was = "" if before.empty else f" (was {_span(before)})"
    mark = grade(float((after - level).abs().max(skipna=False)), *TOLERABLE_COVERAGE)
    text = f"Intervals of level {number(level)}, {fitted}, hold {_span(after)} of the truth{was}."
    return Finding("calibration", mark, text)


def _fit(low: float, high: float) -> str:
    if FITTING_SSR[0] <= low and high <= FITTING_SSR[1]:
        return "Spread fits the error"
    if low < FITTING_SSR[0] and high > FITTING_SSR[1]:
        return "Spread is too small at some leads and too large at others"
    if low < FITTING_SSR[0]:
        return "Spread is smaller than the error: the members are too sure"
    return "Spread is larger than the error: the members are not sure enough" if high > 0 else "Spread is not defined"


def _span(values: pd.Series) -> str:
    """The smallest and the largest."""
    return f"{number(float(values.min()))} to {number(float(values.max()))}"
