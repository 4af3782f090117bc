"""Scores as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from autocast.evaluation.names import MIXED_UNITS
from autocast.evaluation.result import (
    ALL_CHANNELS,
    COVERAGE_COLUMNS,
    ENSEMBLE,
    RANK_COLUMNS,
    SCORE_COLUMNS,
    WINKLER_COLUMNS,
)
from autocast.metrics.probabilistic import interval_levels, rank_cuts
from autocast.metrics.registry import METRICS, Metric
from autocast.metrics.streams import TermStream
from autocast.types import FieldSpec

WINDOW_COLUMNS = ("model", "metric", "kind", "window", "channel", "unit", "value", "low", "high", "n_trajectories")
TRAJECTORY_COLUMNS = ("model", "metric", "kind", "window", "trajectory", "unit", "value")
TERM_COLUMNS = ("window", "trajectory", "channel")
"""Of the table of terms, before those of the terms themselves."""

Streams = Mapping[str, TermStream]
"""By the name in the column `model`."""
Windows = Mapping[str, tuple[int, int]]
"""First and last lead time by label."""


def lead_time_table(streams: Streams, spec: FieldSpec) -> pd.DataFrame:
    """Every score at every lead time, columns `SCORE_COLUMNS`. Channel "all" is the mean over the channels."""
    rows: list[tuple] = []
    for model, stream in streams.items():
        for metric, kind in _scores(stream):
            if metric.counts_steps:
                continue
            values = _with_all(stream.by_lead_time(metric, kind))
            columns = (array.T for array in (values, *stream.bounds_by_lead_time(metric, kind)))
            for channel, unit, *of_channel in zip(_channels(spec), _units(metric, spec), *columns, strict=True):
                numbers = enumerate(zip(*of_channel, strict=True), start=1)
                rows += [(model, metric.name, kind, lead, channel, unit, *each) for lead, each in numbers]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def window_table(streams: Streams, spec: FieldSpec, windows: Windows) -> pd.DataFrame:
    """Every score over windows of lead times, columns `WINDOW_COLUMNS`; in steps, over the whole rollout alone."""
    rows: list[tuple] = []
    for model, stream in streams.items():
        for metric, kind in _scores(stream):
            for label, first, last in _windows(metric, stream, windows):
                values = _with_all(stream.in_window(metric, kind, first, last))
                bounds, n = stream.bounds_in_window(metric, kind, first, last), stream.n_trajectories(first, last)
                for channel, unit, *numbers in zip(_channels(spec), _units(metric, spec), values, *bounds, strict=True):
                    rows.append((model, metric.name, kind, label, channel, unit, *numbers, n))
    return pd.DataFrame(rows, columns=list(WINDOW_COLUMNS))


def trajectory_table(streams: Streams, spec: FieldSpec, windows: Windows) -> pd.DataFrame:
    """Every score of every trajectory over windows, the mean over the channels: what a bootstrap resamples."""
    rows: list[tuple] = []
    for model, stream in streams.items():
        for metric, kind in _scores(stream):
            unit = _units(metric, spec)[0]
            for label, first, last in _windows(metric, stream, windows):
                values = stream.by_trajectory(metric, kind, first, last).mean(-1)
                rows += [(model, metric.name, kind, label, i, unit, value) for i, value in enumerate(values)]
    return pd.DataFrame(rows, columns=list(TRAJECTORY_COLUMNS))


def term_table(stream: TermStream, spec: FieldSpec, windows: Windows, metrics: Iterable[Metric]) -> pd.DataFrame:
    """What the pooled ones among these scores are made of, so that they can be made of other trajectories too.

    Columns `TERM_COLUMNS` and one for each term; of ranks one for each, `rank_cdf_0` and on. No rows where no
    score is pooled.
    """
    pooled = [metric for metric in metrics if metric.pooled and metric.kinds_of(stream.n_members)]
    names = sorted({name for metric in pooled for name in metric.terms_of(ENSEMBLE).values()})
    rows: list[tuple] = []
    columns = dict.fromkeys(TERM_COLUMNS)
    for label, (first, last) in windows.items() if names else ():
        terms: dict[str, np.ndarray] = {}
        for name in names:
            values = stream.term_by_trajectory(name, first, last)
            levels = (
                {name: values} if values.ndim == 2 else {f"{name}_{k}": v for k, v in enumerate(_last_first(values))}
            )
            terms |= levels
        columns |= dict.fromkeys(terms)
        for i in range(len(stream.lengths)):
            rows += [
                (label, i, channel, *(values[i, c] for values in terms.values()))
                for c, channel in enumerate(spec.channel_names)
            ]
    return pd.DataFrame(rows, columns=list(columns))


def _last_first(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, -1, 0)


def coverage_table(stream: TermStream, spec: FieldSpec, windows: Windows) -> pd.DataFrame:
    """Coverage of central rank intervals against their exact level, columns `COVERAGE_COLUMNS`."""
    rows: list[tuple] = []
    for label, (first, last) in windows.items():
        shares, bounds = stream.coverage(first, last), stream.coverage_bounds(first, last)
        for channel, *values in zip(_channels(spec), [shares.mean(0), *shares], *bounds, strict=True):
            levels = sorted(zip(interval_levels(stream.n_members), *values, strict=True))
            rows += [(level, value, label, channel, low, high) for level, value, low, high in levels]
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def rank_table(stream: TermStream, spec: FieldSpec, windows: Windows) -> pd.DataFrame:
    """Rank histograms beside a perfect ensemble's, columns `RANK_COLUMNS`."""
    last_ranks = [*rank_cuts(stream.n_members), stream.n_members]
    first_ranks = [0, *(rank + 1 for rank in last_ranks[:-1])]
    rows: list[tuple] = []
    for label, (first, last) in windows.items():
        (shares, expected), bounds = stream.ranks(first, last), stream.rank_bounds(first, last)
        for channel, values, *ends in zip(_channels(spec), [shares.mean(0), *shares], *bounds, strict=True):
            bins = zip(first_ranks, last_ranks, values, expected, strict=True)
            rows += [(*each, label, channel, *end) for each, *end in zip(bins, *ends, strict=True)]
    return pd.DataFrame(rows, columns=list(RANK_COLUMNS))


def winkler_table(stream: TermStream, spec: FieldSpec, windows: Windows) -> pd.DataFrame:
    """Winkler's score of central rank intervals by their exact level, columns `WINKLER_COLUMNS`."""
    rows: list[tuple] = []
    units = _units(METRICS["winkler"], spec)
    for label, (first, last) in windows.items():
        scores = stream.interval_scores(first, last)
        for channel, unit, values in zip(_channels(spec), units, [scores.mean(0), *scores], strict=True):
            levels = sorted(zip(interval_levels(stream.n_members), values, strict=True))
            rows += [(level, value, unit, label, channel) for level, value in levels]
    return pd.DataFrame(rows, columns=list(WINKLER_COLUMNS))


def _windows(metric: Metric, stream: TermStream, windows: Windows) -> Iterable[tuple[str, int, int]]:
    """Label, first and last lead time; what counts steps does so over the whole rollout alone."""
    for label, (first, last) in windows.items():
        if not metric.counts_steps or (first, last) == (1, stream.n_steps):
            yield label, first, last


def _scores(stream: TermStream) -> Iterable[tuple[Metric, str]]:
    return ((metric, kind) for metric in stream.metrics for kind in metric.kinds_of(stream.n_members))


def _channels(spec: FieldSpec) -> tuple[str, ...]:
    return (ALL_CHANNELS, *spec.channel_names)


def _units(metric: Metric, spec: FieldSpec) -> list[str]:
    """Units of "all" and of each channel."""
    units = [metric.unit(unit) for unit in spec.units]
    return [units[0] if len(set(units)) == 1 else MIXED_UNITS, *units]


def _with_all(values: np.ndarray) -> np.ndarray:
    """`(..., C)` to `(..., 1 + C)`: the mean over the channels first."""
    return np.concatenate([values.mean(-1, keepdims=True), values], axis=-1)


def select_metrics(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The rows of these metrics."""
    return table[table["metric"].isin(set(names))]
