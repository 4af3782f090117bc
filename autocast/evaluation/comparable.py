"""Evaluations as a comparison reads them, and what forbids it: like is compared with like, or not at all."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from autocast.errors import ConfigError
from autocast.evaluation.record import RECORD_FILE, Record, read_record
from autocast.evaluation.result import ALL_CHANNELS, ENSEMBLE, MEAN, MEMBER, MODEL
from autocast.metrics.catalogue import resolve_names

DEFAULT_METRICS = ("vrmse", "crps_fair", "ssr", "high_frequency_ratio")
GROWS_BETTER_WITH_MEMBERS = ("crps", "crps_almost_fair", "skill")
"""Scores of a whole ensemble that a larger one has an advantage in; those of a mean have it too."""
LATENT = "latent"
"""The rollout whose scores are of latents."""

Problems = list[tuple[str, str]]
"""What was given, and why that does not do."""


@dataclass(frozen=True)
class Candidate:
    """An evaluation that takes part, and what is known of its run."""

    label: str
    directory: Path
    """Of the evaluation."""
    command: str
    """Evaluates the run."""
    config_key: str | None = None
    """The same for runs of one config that differ in their seed."""
    seed: int | None = None
    training_seconds: float | None = None
    gpu_hours: float | None = None


@dataclass(frozen=True)
class Wishes:
    """What is compared, and what is allowed to differ."""

    metrics: tuple[str, ...] = ()
    """Empty: those of `DEFAULT_METRICS` that all have."""
    window: str = "all"
    kind: str | None = None
    """`"member"` or `"mean"`; None: the mean of an ensemble, and the only forecast of a deterministic run."""
    aggregate: bool = True
    """Whether runs that differ in their seed alone are one."""
    allow_different_data: bool = False
    allow_different_rollouts: bool = False
    allow_different_members: bool = False


@dataclass(frozen=True)
class Evaluated:
    """A candidate with its record; the tables are read when they are asked for."""

    candidate: Candidate
    record: Record

    @property
    def label(self) -> str:
        return self.candidate.label

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of the model by trajectory and window."""
        table = pd.read_csv(self.candidate.directory / "trajectory_metrics.csv", dtype={"window": str, "unit": str})
        return table[table.model == MODEL]

    @cached_property
    def terms(self) -> pd.DataFrame:
        return pd.read_csv(self.candidate.directory / "trajectory_terms.csv", dtype={"window": str})

    @cached_property
    def curves(self) -> pd.DataFrame:
        table = pd.read_csv(self.candidate.directory / "rollout_metrics.csv")
        return table[(table.model == MODEL) & (table.channel == ALL_CHANNELS)]

    def kind_of(self, metric: str, wanted: str | None) -> str | None:
        """The kind of forecast that stands for the run in a score; None where it was not measured.

        The only forecast of a deterministic run is its own mean.
        """
        kinds = set(self.scores[self.scores.metric == metric].kind)
        order = (ENSEMBLE, *((MEMBER,) if wanted == MEMBER else (MEAN, MEMBER)))
        return next((kind for kind in order if kind in kinds), None)

    def unit(self, metric: str) -> str:
        units = self.scores[self.scores.metric == metric].unit
        return "" if units.empty or pd.isna(units.iloc[0]) else str(units.iloc[0])

    def series(self, metric: str, kind: str) -> pd.Series:
        """A score against lead time."""
        return self._by_lead_time(metric, kind)["value"]

    def bounds(self, metric: str, kind: str) -> pd.DataFrame:
        """Columns `low` and `high` of its 95 % interval over trajectories; nan where an older version wrote none."""
        return self._by_lead_time(metric, kind).reindex(columns=["low", "high"])

    def _by_lead_time(self, metric: str, kind: str) -> pd.DataFrame:
        rows = self.curves[(self.curves.metric == metric) & (self.curves.kind == kind)]
        return rows.set_index("lead_time").sort_index()

    def by_trajectory(self, metric: str, kind: str, window: str) -> np.ndarray:
        """`(N,)`"""
        s = self.scores
        rows = s[(s.metric == metric) & (s.kind == kind) & (s.window == window)]
        return rows.sort_values("trajectory").value.to_numpy(dtype=float)

    def term(self, name: str, window: str) -> np.ndarray:
        """A term `(N, C)`, or `(N, C, n)` of a wide one, by trajectory."""
        rows = self.terms[self.terms.window == window]
        levels = [
            column for column in rows.columns if column.startswith(f"{name}_") and column[len(name) + 1 :].isdigit()
        ]
        n = self.record.data["n_trajectories"]
        if name in rows.columns:
            return rows[name].to_numpy(dtype=float).reshape(n, -1)
        return rows[levels].to_numpy(dtype=float).reshape(n, -1, len(levels))

    def reached(self, window: str) -> np.ndarray:
        """Numbers of the trajectories that are long enough for a window."""
        return np.flatnonzero(np.asarray(self.record.lengths) >= self.record.windows[window][0])


def read_candidates(candidates: Sequence[Candidate]) -> tuple[list[Evaluated], Problems]:
    """Those that were evaluated, and what there is to do about the others."""
    found: list[Evaluated] = []
    problems: Problems = []
    for candidate in candidates:
        record = read_record(candidate.directory)
        if record is not None:
            found.append(Evaluated(candidate, record))
        elif (candidate.directory / "metrics.csv").is_file():
            told = f"{candidate.directory} has no {RECORD_FILE}: an earlier version made it, or it did not end"
            problems.append((candidate.label, f"{told}. Type: {candidate.command} --overwrite"))
        else:
            problems.append((candidate.label, f"was not evaluated. Type: {candidate.command}"))
    return found, problems


def find_metrics(evaluated: Sequence[Evaluated], wishes: Wishes) -> tuple[list[str], Problems]:
    """The scores that are compared, and those that some run does not have."""
    if not wishes.metrics:
        measured = [metric for metric in DEFAULT_METRICS if _lacking(evaluated, metric) == []]
        shared = measured or [m for m in evaluated[0].record.metrics if _lacking(evaluated, m) == []][:1]
        return shared, [] if shared else [("--metric", "the runs have no score in common")]
    problems: Problems = []
    names: dict[str, None] = {}
    for word in wishes.metrics:
        try:
            names |= dict.fromkeys(_resolve(word, evaluated))
        except ConfigError as error:
            problems.append((f"--metric {word}", str(error).removeprefix("eval.metrics: ")))
    for name in names:
        lacking = _lacking(evaluated, name)
        if len(lacking) < len(evaluated):
            problems += [(each.label, _unmeasured(each, name)) for each in lacking]
            continue
        there = ", ".join(evaluated[0].record.metrics)
        problems.append((f"--metric {name}", f"no run was scored by it. {evaluated[0].label} has {there}"))
    return list(names), problems


def _unmeasured(each: Evaluated, name: str) -> str:
    again = f"{each.candidate.command} eval.name={name} {shlex.quote(f'eval.metrics=[{name}]')}"
    return f"was not scored by {name}. Type: {again} and name the directory of that evaluation"


def _resolve(word: str, evaluated: Sequence[Evaluated]) -> list[str]:
    """A score, or those of a family."""
    if any(word in each.record.metrics for each in evaluated):
        return [word]
    return resolve_names([word], of="--metric")


def _lacking(evaluated: Sequence[Evaluated], metric: str) -> list[Evaluated]:
    """Runs without a score that they could have; one forecast has no spread."""
    lacking = [each for each in evaluated if each.kind_of(metric, None) is None]
    if len(lacking) < len(evaluated):
        return [each for each in lacking if not (each.record.n_members == 1 and metric in each.record.metrics)]
    return lacking


def refusals(evaluated: Sequence[Evaluated], metrics: Iterable[str], wishes: Wishes) -> Problems:
    """Why these should not be compared, each with the flag that allows it nevertheless."""
    problems = list(_windows(evaluated, wishes))
    first = evaluated[0]
    for other in evaluated[1:]:
        if first.record.reconstructs != other.record.reconstructs:
            problems.append(
                (other.label, f"an autoencoder, which has seen the truth, beside a forecast ({first.label})")
            )
        if not wishes.allow_different_data:
            problems += _data(first, other)
        if not wishes.allow_different_rollouts:
            problems += _rollout(first, other, wishes.window)
    if not wishes.allow_different_members:
        problems += _members(evaluated, metrics, wishes)
    return problems


def _windows(evaluated: Sequence[Evaluated], wishes: Wishes) -> Iterator[tuple[str, str]]:
    for each in evaluated:
        windows = each.record.windows
        if wishes.window not in windows:
            again = f"{each.candidate.command} eval.name=window {shlex.quote(f'eval.windows=[{wishes.window}]')}"
            yield each.label, f"has no window {wishes.window}, but {', '.join(windows)}. Type: {again}"


def _data(first: Evaluated, other: Evaluated) -> Problems:
    ours, theirs = first.record.data, other.record.data
    if ours["digest"] == theirs["digest"]:
        return []
    named = f"{theirs['name']} {theirs['digest'][:8]}, {first.label} on {ours['name']} {ours['digest'][:8]}"
    told = f"scored on other data: {named}. Evaluate one of them on the data of the other (autocast eval --dataset)"
    return [(other.label, f"{told}, or --allow-different-data: then nothing is paired")]


def _rollout(first: Evaluated, other: Evaluated, window: str) -> Problems:
    """Differences in what was rolled out; over a window of its own, the length of the whole does not matter."""
    ours, theirs = first.record, other.record
    found = [
        f"{key} {theirs.rollout[key]} and {ours.rollout[key]}"
        for key in ("n_steps_input", "stride")
        if theirs.rollout[key] != ours.rollout[key]
    ]
    if ours.data["n_trajectories"] != theirs.data["n_trajectories"]:
        found.append(f"{theirs.data['n_trajectories']} and {ours.data['n_trajectories']} trajectories")
    a, b = ours.windows.get(window), theirs.windows.get(window)
    if a and b and a != b:
        found.append(f"leads {b[0]} to {b[1]} and {a[0]} to {a[1]}")
    if (ours.rollout["mode"] == LATENT) != (theirs.rollout["mode"] == LATENT):
        found.append(f"rollout {theirs.rollout['mode']} and {ours.rollout['mode']}")
    if not found:
        return []
    told = f"rolled out otherwise than {first.label}: {'; '.join(found)}"
    return [(other.label, f"{told}. Choose a --window that both have, or --allow-different-rollouts")]


def _members(evaluated: Sequence[Evaluated], metrics: Iterable[str], wishes: Wishes) -> Iterator[tuple[str, str]]:
    few, many = (choose(evaluated, key=lambda each: each.record.n_members) for choose in (min, max))
    m, n = few.record.n_members, many.record.n_members
    if m == n:
        return
    of_means = [metric for metric in metrics if many.kind_of(metric, wishes.kind) == MEAN]
    of_ensembles = [metric for metric in metrics if metric in GROWS_BETTER_WITH_MEMBERS]
    if of_means:
        fewer = "the single forecast" if m == 1 else f"the mean of {m}"
        told = f"{fewer} of {few.label} beside the mean of {n} of {many.label}, whose error is smaller by construction"
        remedy = "Compare one member of each by --kind member, or --allow-different-members"
        yield f"--metric {', '.join(of_means)}", f"{told}. {remedy}"
    if of_ensembles:
        told = f"better by construction the more members there are: {few.label} has {m}, {many.label} {n}"
        yield f"--metric {', '.join(of_ensembles)}", f"{told}. Compare by crps_fair, or --allow-different-members"
