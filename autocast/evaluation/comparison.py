"""Evaluated runs side by side: scores with intervals, and differences on the same trajectories.

Trajectories are drawn anew for all runs together, so that what makes one hard for all of them cancels. A run is called
better only where the interval of its difference excludes zero. Pooled scores, such as the ratio of spread and skill,
are made of the terms of the trajectories that were drawn: they are no means of the trajectories' own ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autocast.evaluation.comparable import (
    Candidate,
    Evaluated,
    Problems,
    Wishes,
    find_metrics,
    read_candidates,
    refusals,
)
from autocast.evaluation.result import ENSEMBLE
from autocast.metrics.bootstrap import Interval, bootstrap

if TYPE_CHECKING:
    import pandas as pd

REFERENCE, BETTER, WORSE, ALIKE = "reference", "better", "worse", "not told apart"
WITHIN_SEEDS = "within seeds"
"""The trajectories tell them apart, but seeds of one config differ as much."""
NOT_FINITE, NOT_MEASURED, OTHER_DATA, NO_ORDER = "not finite", "not measured", "other data", "no order"
UNDECIDED = (ALIKE, WITHIN_SEEDS)


@dataclass(frozen=True)
class Entry:
    """A run, or the runs of one config with several seeds."""

    name: str
    runs: tuple[str, ...]
    n_members: int
    n_parameters: int | None
    training_seconds: float | None
    """Mean over the seeds, as are the other costs."""
    gpu_hours: float | None
    seconds_per_step: float
    """Of one member, when it was evaluated."""
    device: str

    @property
    def n_seeds(self) -> int:
        return len(self.runs)


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        return cls(float(interval.estimate), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Row:
    """One entry in one score."""

    entry: Entry
    verdict: str
    kind: str | None = None
    score: Estimate | None = None
    by_seed: tuple[float, ...] = ()
    difference: Estimate | None = None
    """Of its distance from the ideal score to that of the reference: negative is better."""

    @property
    def seed_std(self) -> float | None:
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class ScoreTable:
    """All entries in one score."""

    metric: str
    unit: str
    ideal: float | None
    pooled: bool
    reference: Entry | None
    chosen: bool
    """Whether the reference was asked for; otherwise it is the best."""
    rows: tuple[Row, ...]
    curves: Mapping[str, pd.Series] = field(default_factory=dict)
    """Score against lead time by name of the entry."""
    bounds: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Columns `low` and `high` of the 95 % interval of a curve over trajectories, where the entry is a single run."""

    def named(self, *verdicts: str) -> list[str]:
        return [row.entry.name for row in self.rows if row.verdict in verdicts]


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    entries: tuple[Entry, ...]
    tables: tuple[ScoreTable, ...]
    window: str
    leads: tuple[int, int]
    n_trajectories: int
    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def compare(
    candidates: Sequence[Candidate], wishes: Wishes, against: str | None = None
) -> tuple[Comparison | None, Problems]:
    """Compares what evaluations have written; nothing, where something speaks against it.

    Args:
        candidates: At least two.
        wishes: What is compared.
        against: Label of the candidate that differences are taken to; None: the best in each score.
    """
    evaluated, problems = read_candidates(candidates)
    if not evaluated:
        return None, problems
    metrics, missing = find_metrics(evaluated, wishes)
    problems += [*missing, *refusals(evaluated, metrics, wishes)]
    if problems:
        return None, problems
    data = evaluated[0].record.data
    paired = _trajectories([each for each in evaluated if each.record.data["digest"] == data["digest"]], wishes.window)
    if len(paired) < 2:
        return None, [(f"--window {wishes.window}", f"{len(paired)} trajectories reach it; an interval needs two")]
    groups = _groups(evaluated, wishes)
    if len(groups) == 1:
        return None, [("RUN", "all are one config with several seeds. Compare the seeds by --no-aggregate")]
    entries = {_entry(group): group for group in groups}
    chosen = next((entry for entry in entries if against in entry.runs), None)
    tables = tuple(_score_table(metric, entries, wishes, chosen) for metric in metrics)
    leads, notes = evaluated[0].record.windows[wishes.window], tuple(_notes(tables, wishes))
    return Comparison(tuple(entries), tables, wishes.window, leads, len(paired), data, notes), []


def _trajectories(evaluated: Sequence[Evaluated], window: str) -> np.ndarray:
    """Numbers of those that all on the same data have."""
    reached = [set(each.reached(window).tolist()) for each in evaluated]
    return np.array(sorted(set.intersection(*reached)), dtype=int)


def _groups(evaluated: Sequence[Evaluated], wishes: Wishes) -> list[list[Evaluated]]:
    """Runs of one config that differ in their seed, in the order in which they were named."""
    groups: dict[Any, list[Evaluated]] = {}
    for i, each in enumerate(evaluated):
        known, rollout = each.candidate.config_key, each.record.rollout
        settings = [each.record.data["digest"], *(rollout[key] for key in sorted(rollout) if key != "seed")]
        key = (known, *settings) if wishes.aggregate and known else i
        seeds = [other.candidate.seed for other in groups.get(key, [])]
        groups.setdefault(i if each.candidate.seed in seeds else key, []).append(each)
    return list(groups.values())


def _entry(group: Sequence[Evaluated]) -> Entry:
    first = group[0]
    labels = tuple(each.label for each in group)
    timing = [each.record.timing for each in group]
    return Entry(
        name=labels[0] if len(labels) == 1 else f"{labels[0]} ×{len(labels)}",
        runs=labels,
        n_members=first.record.n_members,
        n_parameters=first.record.n_parameters,
        training_seconds=_mean([each.candidate.training_seconds for each in group]),
        gpu_hours=_mean([each.candidate.gpu_hours for each in group]),
        seconds_per_step=float(np.mean([t["seconds_per_step_and_member"] for t in timing])),
        device=" and ".join(dict.fromkeys(str(t["device"]) for t in timing)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


@dataclass(frozen=True)
class _Measured:
    """The numbers of an entry in a score, by trajectory."""

    kind: str
    terms: tuple[np.ndarray, ...]
    """`(N, S, ...)` each: trajectories, seeds."""
    formula: Callable[..., np.ndarray]
    """From averages `(..., S, ...)` of the terms to the scores of the seeds `(..., S)`."""
    digest: str

    def score(self, *means: np.ndarray) -> np.ndarray:
        return self.formula(*means).mean(-1)

    def by_seed(self) -> tuple[float, ...]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return tuple(self.formula(*(term.mean(0) for term in self.terms)).tolist())


def _measure(group: Sequence[Evaluated], metric: str, wishes: Wishes, trajectories: np.ndarray) -> _Measured | None:
    kind = group[0].kind_of(metric, wishes.kind)
    if kind is None:
        return None
    record = group[0].record
    digest = record.data["digest"]

    def stacked(values: list[np.ndarray]) -> np.ndarray:
        return np.stack([value[trajectories] for value in values], axis=1)

    if not record.metrics[metric]["pooled"]:
        scores = stacked([each.by_trajectory(metric, kind, wishes.window) for each in group])
        return _Measured(kind, (scores,), lambda mean: mean, digest)
    from autocast.metrics.registry import METRICS  # takes torch along: only where a formula is needed

    pooled = METRICS[metric]
    names = pooled.terms_of(ENSEMBLE)
    terms = tuple(stacked([each.term(name, wishes.window) for each in group]) for name in names.values())

    def formula(*means: np.ndarray) -> np.ndarray:
        known = {**dict(zip(names, means, strict=True)), "n_members": record.n_members}
        return pooled.compute(known).mean(-1)  # over channels

    return _Measured(kind, terms, formula, digest)


def _score_table(
    metric: str, entries: Mapping[Entry, Sequence[Evaluated]], wishes: Wishes, chosen: Entry | None
) -> ScoreTable:
    groups = list(entries.values())
    everyone = [each for group in groups for each in group]
    known = next(each for each in everyone if each.kind_of(metric, wishes.kind) is not None)
    ideal = known.record.metrics[metric]["ideal"]
    paired = {
        digest: _trajectories([each for each in everyone if each.record.data["digest"] == digest], wishes.window)
        for digest in {each.record.data["digest"] for each in everyone}
    }
    measured = {
        entry: _measure(group, metric, wishes, paired[group[0].record.data["digest"]])
        for entry, group in entries.items()
    }
    scores = {entry: Estimate.of(bootstrap(m.score, *m.terms)) for entry, m in measured.items() if m}
    reference = chosen or _best(measured, scores, ideal)
    rows = tuple(_row(entry, measured, scores, reference, ideal) for entry in entries)
    curves = {e.name: _curve(group, metric, m.kind) for (e, group) in entries.items() if (m := measured[e])}
    return ScoreTable(
        metric=metric,
        unit=known.unit(metric),
        ideal=ideal,
        pooled=known.record.metrics[metric]["pooled"],
        reference=reference,
        chosen=chosen is not None,
        rows=rows,
        curves=curves,
        bounds={e.name: g[0].bounds(metric, m.kind) for e, g in entries.items() if (m := measured[e]) and len(g) == 1},
    )


def _curve(group: Sequence[Evaluated], metric: str, kind: str) -> pd.Series:
    """The mean over the seeds."""
    series = [each.series(metric, kind) for each in group]
    return sum(series[1:], start=series[0]) / len(series)


def _best(
    measured: Mapping[Entry, _Measured | None], scores: Mapping[Entry, Estimate], ideal: float | None
) -> Entry | None:
    """The entry nearest to the ideal, among the finite ones."""
    if ideal is None:
        return None
    losses = {e: _loss(ideal, m.by_seed()) for e, m in measured.items() if m and math.isfinite(scores[e].value)}
    return min(losses, key=lambda entry: losses[entry], default=None)


def _loss(ideal: float, by_seed: Sequence[float]) -> float:
    return float(np.mean(np.abs(np.asarray(by_seed) - ideal)))


def _row(
    entry: Entry,
    measured: Mapping[Entry, _Measured | None],
    scores: Mapping[Entry, Estimate],
    reference: Entry | None,
    ideal: float | None,
) -> Row:
    own, score = measured[entry], scores.get(entry)
    if own is None or score is None:
        return Row(entry, NOT_MEASURED)
    row = Row(entry, NOT_FINITE, own.kind, score, own.by_seed())
    other = measured[reference] if reference else None
    if not math.isfinite(score.value):
        return row
    if entry == reference:
        return replace(row, verdict=REFERENCE)
    if ideal is None or other is None or reference is None:
        return replace(row, verdict=NO_ORDER if ideal is None else NOT_MEASURED)
    if own.digest != other.digest:
        return replace(row, verdict=OTHER_DATA)
    found = _difference(own, other, ideal)
    difference = Estimate.of(found)
    verdict = (BETTER if difference.value < 0 else WORSE) if found.excludes(0.0) else ALIKE
    if verdict != ALIKE and abs(difference.value) <= _between_seeds(own, other):
        verdict = WITHIN_SEEDS
    return replace(row, verdict=verdict, difference=difference)


def _difference(own: _Measured, other: _Measured, ideal: float) -> Interval:
    n = len(own.terms)

    def formula(*means: np.ndarray) -> np.ndarray:
        ours, theirs = own.formula(*means[:n]), other.formula(*means[n:])
        return np.abs(ours - ideal).mean(-1) - np.abs(theirs - ideal).mean(-1)

    return bootstrap(formula, *own.terms, *other.terms)


def _between_seeds(*measured: _Measured) -> float:
    """Standard deviation of a difference, as far as seeds make one."""
    several = [m.by_seed() for m in measured if len(m.by_seed()) > 1]
    return math.hypot(*(float(np.std(scores, ddof=1)) for scores in several)) if several else 0.0


def _notes(tables: Sequence[ScoreTable], wishes: Wishes) -> list[str]:
    notes = []
    if any(row.verdict == OTHER_DATA for table in tables for row in table.rows):
        notes.append("Scores on different data are not paired, so no difference is given.")
    if wishes.allow_different_members and len({row.entry.n_members for t in tables for row in t.rows}) > 1:
        notes.append("The runs have different numbers of members, which alone makes a mean's error smaller.")
    if any(row.verdict == WITHIN_SEEDS for table in tables for row in table.rows):
        notes.append("Within seeds: the trajectories tell them apart, but seeds of one config differ as much.")
    return notes
