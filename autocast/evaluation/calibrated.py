"""What watches the model's windows on the test split to see what a calibration changes; it calls no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autocast.evaluation.calibration import Fitted
from autocast.evaluation.plan import Plan
from autocast.evaluation.settings import SPREAD
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.metrics.bootstrap import bootstrap
from autocast.metrics.conformal import interval_scale, symmetric_intervals
from autocast.metrics.probabilistic import interval_levels, interval_measures
from autocast.metrics.streams import BLOCK_NUMBERS, N_RESAMPLES, TermStream
from autocast.metrics.terms import Window

Measure = Callable[[int, Window], Tensor]
"""Coverage, width and Winkler's score of intervals in a window behind so many steps: `(B, T, C, n_levels, 3)`."""


class IntervalStream:
    """Coverage, width and Winkler's score of intervals by trajectory, lead time and channel.

    Args:
        measure: Of the intervals.
        levels: `(n_levels,)` their probabilities.
        lengths: Steps that each trajectory is scored for.
        n_channels: Of the fields.
    """

    def __init__(self, measure: Measure, levels: Sequence[float], lengths: Sequence[int], n_channels: int):
        self.levels = tuple(levels)
        self._measure = measure
        self._values = np.full((len(lengths), max(lengths), n_channels, len(self.levels), 3), np.nan)
        self._counted = np.arange(max(lengths)) < np.asarray(lengths)[:, None]

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        """Looks at a window whose first frame has lead time `start + 1`."""
        steps = slice(start, start + window.truth.shape[1])
        self._values[list(batch.numbers), steps] = self._measure(start, window).double().cpu().numpy()

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The values of some trajectories, by themselves."""
        return {"values": self._values[list(numbers)]}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        self._values[list(numbers)] = arrays["values"]

    def by_lead_time(self) -> np.ndarray:
        """`(L, 1 + C, n_levels, 3)`, the mean over channels first."""
        return _average(self._with_all(), self._counted, axis=0)

    def coverage(self, first: int, last: int) -> np.ndarray:
        """Over lead times `first ... last`: `(1 + C, n_levels)`."""
        leads = slice(first - 1, last)
        return _average(self._with_all()[:, leads, ..., 0], self._counted[:, leads], axis=(0, 1))

    def coverage_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the 95 % interval over test trajectories: `(L, 1 + C, n_levels)` each; nan of fewer than two."""
        covered = np.where(self._counted[..., None, None], self._with_all()[..., 0], 0.0)
        if len(covered) < 2:
            return (np.full(covered.shape[1:], np.nan),) * 2

        def formula(count: np.ndarray, total: np.ndarray) -> np.ndarray:
            return total / count[..., None, None]

        n_block = max(1, BLOCK_NUMBERS // (N_RESAMPLES * covered[0, 0].size))
        blocks = [slice(start, start + n_block) for start in range(0, covered.shape[1], n_block)]
        counted = self._counted.astype(float)
        found = [bootstrap(formula, counted[:, leads], covered[:, leads], n_resamples=N_RESAMPLES) for leads in blocks]
        return np.concatenate([each.low for each in found]), np.concatenate([each.high for each in found])

    def _with_all(self) -> np.ndarray:
        return np.concatenate([self._values.mean(2, keepdims=True), self._values], axis=2)


class CalibratedEnsemble:
    """The model's ensemble with deviations from its mean times a factor for each lead time and channel.

    Args:
        factors: `(L, C)`
        scores: Of the calibrated ensemble.
        intervals: Its rank intervals.
    """

    def __init__(self, factors: np.ndarray, scores: TermStream, intervals: IntervalStream):
        self.factors = factors
        self.scores = scores
        self.intervals = intervals

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        """Looks at a window of the raw ensemble whose first frame has lead time `start + 1`."""
        factors = torch.from_numpy(self.factors[start : start + window.truth.shape[1]])
        scaled = window.scaled(factors.to(window.truth))
        self.scores.add(batch.numbers, start, scaled)
        self.intervals.add(batch, start, scaled)

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """What there is of some trajectories."""
        return {**self.scores.take(numbers), "intervals": self.intervals.take(numbers)["values"]}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        self.scores.put(numbers, arrays)
        self.intervals.put(numbers, {"values": arrays["intervals"]})


class Watched:
    """The streams that show a calibration on the test split.

    Args:
        plan: Of the test split.
        fitted: To the validation split.
    """

    def __init__(self, plan: Plan, fitted: Fitted):
        sizes = (plan.lengths, plan.spec.n_channels)
        self.fitted = fitted
        self.raw: IntervalStream | None = None
        self.ensemble: CalibratedEnsemble | None = None
        if plan.n_members > 1:
            self.raw = IntervalStream(_of_ranks, interval_levels(plan.n_members), *sizes)
        if fitted.method == SPREAD:
            self.intervals = IntervalStream(_of_ranks, fitted.levels, *sizes)
            self.ensemble = CalibratedEnsemble(fitted.values, plan.term_stream(plan.n_members), self.intervals)
        else:
            self.intervals = IntervalStream(conformal_measure(fitted), fitted.levels, *sizes)

    @property
    def streams(self) -> dict[str, IntervalStream | CalibratedEnsemble]:
        """By the names under which they are kept."""
        raw = {} if self.raw is None else {"intervals/model": self.raw}
        return {**raw, "calibrated": self.ensemble or self.intervals}


def _of_ranks(_: int, window: Window) -> Tensor:
    return interval_measures(window.truth, window.member.forecast, window.grid.n_dims)


def conformal_measure(fitted: Fitted) -> Measure:
    """Of the calibrated intervals about the mean."""

    def measure(start: int, window: Window) -> Tensor:
        quantiles = torch.from_numpy(fitted.values[start : start + window.truth.shape[1]]).to(window.truth)
        n_dims = window.grid.n_dims
        scale = interval_scale(window.member.forecast, n_dims)
        return symmetric_intervals(
            window.truth, window.mean.forecast[:, 0], scale, quantiles, list(fitted.levels), n_dims
        )

    return measure


def _average(values: np.ndarray, counted: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Over what was scored: what is not a number stays in it."""
    wide = counted.reshape(*counted.shape, *[1] * (values.ndim - counted.ndim))
    return np.where(wide, values, 0.0).sum(axis) / wide.sum(axis)
