"""Post-hoc calibration: what is fitted to a rollout of the validation split, for each lead time and channel.

| `spread` | the factor 1 / ssr of the members' deviations from their mean, as in ensemble model output statistics |
| `conformal` | half-widths of intervals about the mean, in units of the spread; see `autocast.metrics.conformal` |

References:
    | Calibrated Probabilistic Forecasting Using Ensemble Model Output Statistics (Gneiting et al., 2005)
    | https://doi.org/10.1175/MWR2904.1
    | Construction of Confidence Limits about Effect Measures (Zou and Donner, 2008) | https://doi.org/10.1002/sim.3095
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autocast.errors import ConfigError, DataError
from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.plan import EvaluationData, Plan
from autocast.evaluation.settings import SPREAD, EvaluationSettings
from autocast.evaluation.trajectory_batches import TestTrajectories, TrajectoryBatch
from autocast.metrics.bootstrap import bootstrap_mean
from autocast.metrics.conformal import (
    COARSE_OCTAVE,
    N_BINS,
    bin_edges,
    coarsened,
    conformal_level,
    histogram_quantile,
    interval_scale,
    score_histogram,
    share_below,
    trajectories_needed,
)
from autocast.metrics.probabilistic import interval_levels
from autocast.metrics.registry import METRICS
from autocast.metrics.streams import N_RESAMPLES, TermStream
from autocast.metrics.terms import Window

VALID = "valid"
DETERMINISTIC_LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the intervals of a model without an ensemble of its own."""


@dataclass(frozen=True)
class Fitted:
    """What a calibration does at each lead time to each channel."""

    method: str
    levels: tuple[float, ...]
    """Probabilities of the intervals, widest first; those that an ensemble has by itself where its spread is scaled."""
    values: np.ndarray
    """`(L, C)` factors, or `(L, C, n_levels)` half-widths in units of the spread, or of the field."""
    n_trajectories: np.ndarray
    """`(L,)` validation trajectories that reach each lead time."""
    shares: tuple[np.ndarray, np.ndarray]
    """`(L, 1 + C, n_levels)` each: how far below and above the share of validation points in an interval may be of the
    share over all trajectories, by its 95 % interval; zeros where it is not known."""
    notes: tuple[str, ...] = ()


class ScoreHistograms:
    """Counts of conformal scores by lead time and channel, of all trajectories together, and coarse ones of each.

    Args:
        lengths: Steps that each trajectory is scored for.
        n_channels: Of the fields.
    """

    def __init__(self, lengths: Sequence[int], n_channels: int):
        shape = (max(lengths), n_channels)
        self.pooled = np.zeros((*shape, N_BINS), dtype=np.int64)
        self.single = np.zeros((len(lengths), *shape, len(bin_edges(COARSE_OCTAVE)) - 1), dtype=np.int32)
        self._latest = np.zeros(self.pooled.shape, dtype=np.int32)

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        """Looks at a window whose first frame has lead time `start + 1`."""
        if start == 0:
            self._latest[:] = 0
        stop, forecast = start + window.truth.shape[1], window.member.forecast
        errors = window.truth - window.mean.forecast[:, 0]
        scales = interval_scale(forecast, window.grid.n_dims)
        for number, error, scale in zip(batch.numbers, errors, scales, strict=True):
            counts = score_histogram(error, scale).cpu().numpy()
            self.single[number, start:stop] = coarsened(counts)
            self._latest[start:stop] += counts
            self.pooled[start:stop] += counts

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The counts of the batch that was seen last, without bins that are empty everywhere."""
        (places,) = np.nonzero(self._latest.any((0, 1)))
        return {"places": places, "pooled": self._latest[..., places], "single": self.single[list(numbers)]}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        self.pooled[..., arrays["places"]] += arrays["pooled"]
        self.single[list(numbers)] = arrays["single"]


def check_method(model: Forecasts, method: str | None) -> None:
    """
    Raises:
        ConfigError: The model has nothing that this method could calibrate.
    """
    if method is None:
        return
    if model.reconstructs:
        raise ConfigError(
            f"eval.calibrate={method}: an autoencoder alone makes no forecast that could be calibrated. Leave it out."
        )
    if method == SPREAD and model.deterministic:
        raise ConfigError(
            "eval.calibrate=spread: the model is deterministic and has no spread. Set eval.calibrate=conformal, which "
            "gives its forecast intervals."
        )


def check_validation(model: Forecasts, datamodule: EvaluationData, settings: EvaluationSettings) -> None:
    """
    Raises:
        DataError: At some lead time of the test split there are fewer than two validation trajectories.
    """
    valid, test = (TestTrajectories.of(model, datamodule.split(name), settings.n_steps)
                   for name in (VALID, "test"))  # fmt: skip
    n = valid.trajectories.n_trajectories
    if n < 2:
        raise DataError(
            f"eval.calibrate={settings.calibrate}: the validation split has {n} trajectories, at least 2 are needed. "
            "Give a data set with more, or leave it out."
        )
    reached, wanted = sorted(valid.lengths)[-2], max(test.lengths)
    if reached < wanted:
        raise DataError(
            f"eval.calibrate={settings.calibrate}: the rollout has {wanted} steps, but fewer than 2 validation "
            f"trajectories have more than {reached}. Set eval.n_steps={reached}."
        )


def fitting_settings(plan: Plan) -> EvaluationSettings:
    """Of the rollout of the validation split, which is that of the test split without all that is not needed."""
    return dataclasses.replace(
        plan.settings,
        metrics=("ssr",) if plan.n_members > 1 else ("mse",),
        baselines=(),
        batch_indices=(),
        save_rollouts=False,
        other_rollout=False,
        stress=None,
        n_steps=plan.n_steps,
        batch_size=plan.batch_size,
        max_rows=plan.max_rows,
    )


def fit(histograms: ScoreHistograms | None, scores: TermStream) -> Fitted:
    """What was seen of the validation split as a calibration; with histograms a conformal one."""
    if histograms is None:
        return fit_spread(scores)
    return fit_conformal(histograms, scores.n_members, scores.counted.sum(0))


def fit_spread(stream: TermStream) -> Fitted:
    """The factors with which ssr is 1 on the validation split; 1 where there is no spread, or no error."""
    ratio = stream.by_lead_time(METRICS["ssr"], "ensemble")
    usable = np.isfinite(ratio) & (ratio > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(usable, 1 / ratio, 1.0)
    levels = tuple(interval_levels(stream.n_members))
    nothing = np.zeros((ratio.shape[0], 1 + ratio.shape[1], len(levels)))
    notes = () if usable.all() else (f"eval.calibrate=spread: {(~usable).sum()} lead times and channels have no spread "
                                     "or no finite error on the validation split, and stay as they are",)  # fmt: skip
    return Fitted(SPREAD, levels, factors, stream.counted.sum(0), (nothing, nothing), notes)


def fit_conformal(histograms: ScoreHistograms, n_members: int, n_trajectories: np.ndarray) -> Fitted:
    """Half-widths of the intervals that so many trajectories can give: those of the levels of the raw ensemble."""
    asked = interval_levels(n_members) if n_members > 1 else DETERMINISTIC_LEVELS[::-1]
    n = int(n_trajectories.min())
    levels = tuple(level for level in asked if conformal_level(level, n) <= 1)
    left_out = [level for level in asked if level not in levels]
    notes = tuple(
        f"eval.calibrate=conformal: {n} validation trajectories give no interval of level {level:.3g}, which needs "
        f"{trajectories_needed(level)}"
        for level in left_out
    )
    values = np.stack([_half_widths(histograms, level, n_trajectories) for level in levels], axis=-1)
    return Fitted("conformal", levels, values, n_trajectories, _uncertainty(histograms, values), notes)


def _half_widths(histograms: ScoreHistograms, level: float, n_trajectories: np.ndarray) -> np.ndarray:
    """`(L, C)`"""
    return np.stack([
        histogram_quantile(counts, conformal_level(level, int(n)))
        for counts, n in zip(histograms.pooled, n_trajectories, strict=True)
    ])  # fmt: skip


def _uncertainty(histograms: ScoreHistograms, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the share of points in each interval may be off because other trajectories could have been fitted to.

    To first order a quantile is off by as much as the share of points below it is, so the bootstrap draws the shares of
    the trajectories, and the quantile stays.
    """
    low, high = (np.zeros((values.shape[0], 1 + values.shape[1], values.shape[2])) for _ in range(2))
    for lead in range(len(values)):
        reach = histograms.single[:, lead].sum((1, 2)) > 0
        counts = histograms.single[reach, lead]
        shares = np.stack([share_below(counts, values[lead, :, k]) for k in range(values.shape[2])], axis=-1)
        shares = np.concatenate([shares.mean(1, keepdims=True), shares], axis=1)
        found = bootstrap_mean(shares, n_resamples=N_RESAMPLES)
        low[lead], high[lead] = found.estimate - found.low, found.high - found.estimate
    return low, high
