"""What a calibration was fitted to and what it changed, as tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from autocast.evaluation import tables
from autocast.evaluation.calibrated import IntervalStream, Watched
from autocast.evaluation.calibration import Fitted
from autocast.evaluation.names import MIXED_UNITS
from autocast.evaluation.plan import Plan
from autocast.evaluation.result import (
    ALL_CHANNELS,
    CALIBRATED,
    CALIBRATION_COLUMNS,
    COVERAGE_COLUMNS,
    INTERVAL_COLUMNS,
    MODEL,
    Calibration,
)
from autocast.evaluation.settings import SPREAD
from autocast.types import FieldSpec


def calibration_result(watched: Watched, plan: Plan) -> Calibration:
    """Everything that the report knows of a calibration."""
    fitted, ensemble = watched.fitted, watched.ensemble
    rows = [] if watched.raw is None else list(_interval_rows(MODEL, watched.raw, plan.spec))
    rows += _interval_rows(CALIBRATED, watched.intervals, plan.spec, fitted)
    return Calibration(
        method=fitted.method,
        n_trajectories=int(fitted.n_trajectories.max()),
        fitted=fitted_table(fitted, plan.spec, scaled=plan.n_members > 1),
        intervals=pd.DataFrame(rows, columns=list(INTERVAL_COLUMNS)),
        coverage=_coverage_table(watched.intervals, plan),
        ranks=None if ensemble is None else tables.rank_table(ensemble.scores, plan.spec, plan.windows),
    )


def fitted_table(fitted: Fitted, spec: FieldSpec, *, scaled: bool) -> pd.DataFrame:
    """Columns `CALIBRATION_COLUMNS`; `scaled` where half-widths are in units of a spread, not of the field."""
    levels = (np.nan,) if fitted.method == SPREAD else fitted.levels
    values = fitted.values[..., None] if fitted.method == SPREAD else fitted.values
    rows = [
        (fitted.method, lead, channel, level, values[lead - 1, c, k], "1" if scaled else unit, n)
        for lead, n in enumerate(fitted.n_trajectories.tolist(), start=1)
        for c, (channel, unit) in enumerate(zip(spec.channel_names, spec.units, strict=True))
        for k, level in sorted(enumerate(levels), key=lambda item: item[1])
    ]
    return pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))


def _interval_rows(
    model: str, stream: IntervalStream, spec: FieldSpec, fitted: Fitted | None = None
) -> Iterator[tuple[object, ...]]:
    """The interval of a coverage holds what test and, of a calibration, validation trajectories leave open.

    Both are independent of each other, so squares of distances add up (Zou and Donner, 2008).
    """
    values, (low, high) = stream.by_lead_time(), stream.coverage_bounds()
    if fitted is not None:
        coverage, (below, above) = values[..., 0], fitted.shares
        low = np.maximum(coverage - np.hypot(coverage - low, above), 0.0)
        high = np.minimum(coverage + np.hypot(high - coverage, below), 1.0)
    units = [spec.units[0] if len(set(spec.units)) == 1 else MIXED_UNITS, *spec.units]
    order = np.argsort(stream.levels)
    for lead in range(len(values)):
        for c, (channel, unit) in enumerate(zip((ALL_CHANNELS, *spec.channel_names), units, strict=True)):
            for k in order:
                coverage, width, score = values[lead, c, k]
                bounds = (low[lead, c, k], high[lead, c, k])
                yield model, lead + 1, channel, stream.levels[k], coverage, *bounds, width, score, unit


def _coverage_table(stream: IntervalStream, plan: Plan) -> pd.DataFrame:
    """Over windows of lead times; bounds of calibrated intervals are known at single lead times alone."""
    rows = [
        (level, value, label, channel, np.nan, np.nan)
        for label, (first, last) in plan.windows.items()
        for channel, values in zip((ALL_CHANNELS, *plan.spec.channel_names), stream.coverage(first, last), strict=True)
        for level, value in sorted(zip(stream.levels, values.tolist(), strict=True))
    ]
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))
