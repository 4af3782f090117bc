"""Accumulates a rollout's scores window by window: the fields themselves are never kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autocast.metrics.bootstrap import bootstrap
from autocast.metrics.catalogue import BANDS
from autocast.metrics.probabilistic import coverage_of_ranks, rank_shares
from autocast.metrics.registry import Metric
from autocast.metrics.spectral import Grid, band_shells
from autocast.metrics.terms import TERMS, WIDE_TERMS, Window

N_RESAMPLES = 1000
BLOCK_NUMBERS = 2**24
"""Numbers that an interval is resampled from at once."""

Bounds = tuple[np.ndarray, np.ndarray]
"""Low and high; nan where fewer than two trajectories reach, or too few for every draw to have one."""


class TermStream:
    """Terms of one forecaster's scores by trajectory, lead time and channel.

    Memory does not depend on the number of members or the size of the fields, and every trajectory has a place of its
    own, so that results do not depend on the order or the batches in which windows come.

    Args:
        metrics: Scores that will be asked for; those that the ensemble or the grid is too small for are dropped.
        n_members: Of the forecasts.
        lengths: Steps that each trajectory will be scored for.
        n_channels: Of the fields.
        grid: Of the fields.
    """

    def __init__(
        self, metrics: Sequence[Metric], *, n_members: int, lengths: Sequence[int], n_channels: int, grid: Grid
    ):
        self.n_members = n_members
        self.grid = grid
        self.lengths = np.asarray(lengths)
        self.metrics = [metric for metric in metrics if _measurable(metric, n_members, grid)]
        names = {t for m in self.metrics for kind in m.kinds_of(n_members) for t in m.terms_of(kind).values()}
        sizes = {name: WIDE_TERMS[name](n_members) if name in WIDE_TERMS else 1 for name in sorted(names)}
        stops = np.cumsum(list(sizes.values()))
        self._places = {name: slice(stop - n, stop) for (name, n), stop in zip(sizes.items(), stops, strict=True)}
        shape = (len(lengths), max(lengths, default=0), n_channels, sum(sizes.values()))
        self._values = np.full(shape, np.nan)
        self.counted = np.zeros(shape[:2], dtype=bool)

    @property
    def n_steps(self) -> int:
        """Lead times of the longest trajectory."""
        return self.counted.shape[1]

    def add(self, trajectories: Sequence[int], start: int, window: Window) -> None:
        """Scores a window whose first frame has lead time `start + 1`.

        Args:
            trajectories: `(B,)` numbers of the rows' trajectories.
            start: Steps of the rollout before the window.
            window: Truth `(B, T, *S, C)` and forecast `(B, M, T, *S, C)`.

        Raises:
            ValueError: If one of the frames was scored before.
        """
        rows, steps = np.asarray(trajectories), slice(start, start + window.truth.shape[1])
        if self.counted[rows, steps].any():
            raise ValueError(f"trajectories {rows.tolist()} were already scored at lead times from {start + 1}")
        terms = [_with_values(name, TERMS[name](window)) for name in self._places]
        if terms:
            self._values[rows, steps] = torch.cat(terms, dim=-1).double().cpu().numpy()
        self.counted[rows, steps] = True

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The terms of some trajectories, by themselves."""
        return {"values": self._values[list(numbers)], "counted": self.counted[list(numbers)]}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        self._values[list(numbers)], self.counted[list(numbers)] = arrays["values"], arrays["counted"]

    def by_lead_time(self, metric: Metric, kind: str) -> np.ndarray:
        """A score at every lead time, over the trajectories that reach it: `(L, C)`."""
        return self._reduce(metric, kind, slice(None), axes=(0,))

    def in_window(self, metric: Metric, kind: str, first: int, last: int) -> np.ndarray:
        """A score over lead times `first ... last` and all trajectories: `(C,)`; in steps, from the `first` on."""
        return self._reduce(metric, kind, slice(first - 1, last), axes=(0, 1))

    def by_trajectory(self, metric: Metric, kind: str, first: int, last: int) -> np.ndarray:
        """A score of each trajectory over lead times `first ... last`: `(N, C)`, nan where it is too short."""
        return self._reduce(metric, kind, slice(first - 1, last), axes=(1,))

    def term_by_trajectory(self, name: str, first: int, last: int) -> np.ndarray:
        """A term of each trajectory, averaged over lead times `first ... last`: `(N, C)`, of coverage
        `(N, C, n_levels)`; nan where it is too short."""
        leads = slice(first - 1, last)
        return self._average(self._term(name, leads), leads, axes=(1,))

    def bounds_by_lead_time(self, metric: Metric, kind: str) -> Bounds:
        """Of a score at every lead time: `(L, 1 + C)` each, the mean over channels first."""
        n_block = max(1, BLOCK_NUMBERS // (N_RESAMPLES * self._values[0, 0].size))
        starts = range(0, self.n_steps, n_block)
        blocks = [self._bounds(metric, kind, slice(start, start + n_block), axes=()) for start in starts]
        low, high = (np.concatenate(bound) for bound in zip(*blocks, strict=True))
        return low, high

    def bounds_in_window(self, metric: Metric, kind: str, first: int, last: int) -> Bounds:
        """Of a score over lead times `first ... last`: `(1 + C,)` each, the mean over channels first."""
        return self._bounds(metric, kind, slice(first - 1, last), axes=(1,))

    def coverage(self, first: int, last: int) -> np.ndarray:
        """Share of points in each central interval over lead times `first ... last`: `(C, n_levels)`."""
        return coverage_of_ranks(self._wide("rank_cdf", first, last), self.n_members)

    def ranks(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Rank histogram over lead times `first ... last`, and a perfect one: `(C, n_bins)`, `(n_bins,)`."""
        return rank_shares(self._wide("rank_cdf", first, last), self.n_members)

    def coverage_bounds(self, first: int, last: int) -> Bounds:
        """Of `coverage`: `(1 + C, n_levels)` each, the mean over channels first."""
        return self._wide_bounds("rank_cdf", first, last, lambda cdf: coverage_of_ranks(cdf, self.n_members))

    def rank_bounds(self, first: int, last: int) -> Bounds:
        """Of the rank histogram: `(1 + C, n_bins)` each, the mean over channels first."""
        return self._wide_bounds("rank_cdf", first, last, lambda cdf: rank_shares(cdf, self.n_members)[0])

    def interval_scores(self, first: int, last: int) -> np.ndarray:
        """Winkler's score of each central interval over lead times `first ... last`: `(C, n_levels)`."""
        return self._wide("interval_score", first, last)

    def measures(self, metric: str) -> bool:
        return any(each.name == metric for each in self.metrics)

    def n_trajectories(self, first: int, last: int) -> int:
        """Trajectories that reach into the window."""
        return int(self.counted[:, first - 1 : last].any(1).sum())

    def _reduce(self, metric: Metric, kind: str, leads: slice, axes: tuple[int, ...]) -> np.ndarray:
        terms = {term: self._term(name, leads) for term, name in metric.terms_of(kind).items()}
        numbers = {"n_members": self.n_members, "n_points": prod(self.grid.shape)}
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if metric.counts_steps:
                score = metric.compute({**terms, **numbers, "counted": self.counted[:, leads]})
                return self._of_scored(score, leads, axes)
            if metric.pooled:
                terms = {term: self._average(values, leads, axes) for term, values in terms.items()}
            score = metric.compute({**terms, **numbers})
            return score if metric.pooled else self._average(score, leads, axes)

    def _bounds(self, metric: Metric, kind: str, leads: slice, axes: tuple[int, ...]) -> Bounds:
        """Of the 95 % interval over trajectories, which are resampled with all of their lead times."""
        terms = {term: self._term(name, leads) for term, name in metric.terms_of(kind).items()}
        numbers = {"n_members": self.n_members, "n_points": prod(self.grid.shape)}
        scored = self.counted[:, leads].astype(float)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if metric.counts_steps:
                steps = metric.compute({**terms, **numbers, "counted": self.counted[:, leads]})
                counts = np.asarray(scored.any(1), float)
                terms = {"score": np.where(counts[:, None] > 0, steps, 0.0)}
            else:
                terms = terms if metric.pooled else {"score": metric.compute({**terms, **numbers})}
                terms = {term: _masked(values, scored).sum(axes) for term, values in terms.items()}
                counts = scored.sum(axes)

            def formula(count: Any, *sums: Any) -> np.ndarray:
                known = {term: _over(total, count) for term, total in zip(terms, sums, strict=True)}
                score = metric.compute({**known, **numbers}) if metric.pooled else known["score"]
                return np.concatenate([score.mean(-1, keepdims=True), score], axis=-1)

            if len(scored) < 2:
                nothing = np.full_like(formula(counts[0], *(values[0] for values in terms.values())), np.nan)
                return nothing, nothing
            found = bootstrap(formula, counts, *terms.values(), n_resamples=N_RESAMPLES)
        return found.low, found.high

    def _of_scored(self, score: np.ndarray, leads: slice, axes: tuple[int, ...]) -> np.ndarray:
        """A score of whole trajectories, `(N, C)`, or its mean over those that were scored."""
        scored = np.asarray(self.counted[:, leads].any(1))
        return score[scored].mean(0) if 0 in axes else np.where(scored[:, None], score, np.nan)

    def _wide(self, name: str, first: int, last: int) -> np.ndarray:
        leads = slice(first - 1, last)
        return self._average(self._term(name, leads), leads, (0, 1))

    def _wide_bounds(self, name: str, first: int, last: int, shares: Callable[[np.ndarray], np.ndarray]) -> Bounds:
        """Of shares that are made of a wide term, over trajectories and lead times `first ... last`."""
        leads = slice(first - 1, last)
        scored = self.counted[:, leads].astype(float)
        totals = _masked(self._term(name, leads), scored).sum(1)

        def formula(count: Any, total: np.ndarray) -> np.ndarray:
            found = shares(_over(total, count))
            return np.concatenate([found.mean(-2, keepdims=True), found], axis=-2)

        if len(scored) < 2:
            nothing = np.full_like(formula(scored.sum(1)[0], totals[0]), np.nan)
            return nothing, nothing
        with np.errstate(divide="ignore", invalid="ignore"):
            found = bootstrap(formula, scored.sum(1), totals, n_resamples=N_RESAMPLES)
        return found.low, found.high

    def _term(self, name: str, leads: slice) -> np.ndarray:
        """`(N, L, C)`, or `(N, L, C, n)` of a wide term."""
        values = self._values[:, leads, :, self._places[name]]
        return values if name in WIDE_TERMS else values[..., 0]

    def _average(self, values: np.ndarray, leads: slice, axes: tuple[int, ...]) -> np.ndarray:
        """Mean over what was scored: a forecast that blew up stays in it as nan or inf."""
        scored = self.counted[:, leads].reshape(*values.shape[:2], *[1] * (values.ndim - 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(scored, values, 0.0).sum(axes) / scored.sum(axes)


class SpectrumStream:
    """Power spectra of truth, members and their mean at chosen lead times, per trajectory."""

    def __init__(self, lead_times: Sequence[int], *, n_trajectories: int, n_channels: int, grid: Grid):
        self.lead_times = tuple(lead_times)
        shape = (n_trajectories, len(lead_times), grid.n_shells, n_channels)
        self._power = {name: np.full(shape, np.nan) for name in ("truth", "member", "mean")}

    def add(self, trajectories: Sequence[int], start: int, window: Window) -> None:
        """Looks at a window whose first frame has lead time `start + 1`; see `TermStream.add`."""
        n_steps = window.truth.shape[1]
        steps = [lead - start - 1 for lead in self.lead_times if start < lead <= start + n_steps]
        if not steps:
            return
        places = [self.lead_times.index(start + step + 1) for step in steps]
        rows = np.ix_(np.asarray(trajectories), np.asarray(places))
        member, mean = window.member, window.mean
        self._power["truth"][rows] = _numpy(member.truth_power[:, steps])
        self._power["member"][rows] = _numpy(member.power[:, :, steps].mean(1))
        self._power["mean"][rows] = _numpy(mean.power[:, :, steps].mean(1))

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The spectra of some trajectories, by themselves."""
        return {name: power[list(numbers)] for name, power in self._power.items()}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        for name, power in self._power.items():
            power[list(numbers)] = arrays[name]

    def average(self, name: str) -> np.ndarray:
        """Power of "truth", "member" or "mean", averaged over the trajectories that were seen: `(L, n_shells, C)`."""
        power = self._power[name]
        seen = ~np.isnan(self._power["truth"]).all((2, 3), keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(seen, power, 0.0).sum(0) / seen.sum(0)

    def bounds(self, name: str) -> np.ndarray | None:
        """Low and high ends of the 95 % interval of `average` over trajectories: `(2, L, n_shells, C)`.

        None where fewer than two trajectories reach the last lead time.
        """
        power = self._power[name]
        seen = ~np.isnan(self._power["truth"]).all((2, 3), keepdims=True)
        if seen.sum(0).min() < 2:
            return None
        found = bootstrap(
            lambda total, count: total / count,
            np.where(seen, power, 0.0),
            seen.astype(float),
            n_resamples=N_RESAMPLES,
        )
        return np.stack([found.low, found.high])


def _measurable(metric: Metric, n_members: int, grid: Grid) -> bool:
    _, _, band = metric.name.rpartition("_")
    return bool(metric.kinds_of(n_members)) and (band not in BANDS or band in band_shells(grid.n_shells))


def _masked(values: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """`(N, L, ...)` with zeros where nothing was scored."""
    return np.where(scored.reshape(*scored.shape, *[1] * (values.ndim - 2)) > 0, values, 0.0)


def _over(total: np.ndarray, count: Any) -> np.ndarray:
    """`(..., *any)` over `(...)`"""
    return total / np.reshape(count, (*np.shape(count), *[1] * (total.ndim - np.ndim(count))))


def _with_values(name: str, term: Tensor) -> Tensor:
    """`(B, T, C, n)`"""
    return term if name in WIDE_TERMS else term.unsqueeze(-1)


def _numpy(x: Tensor) -> np.ndarray:
    return x.double().cpu().numpy()
