"""Rollouts far beyond the data, where there is no truth: whether a model stays finite, and near what the data show.

Fields are reduced as they come, to bins of lead times, so that memory does not depend on the length of the rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autocast.errors import ConfigError
from autocast.evaluation.forecasters import Forecasts, ModelForecaster
from autocast.evaluation.parts import Parts
from autocast.evaluation.plan import Plan
from autocast.evaluation.result import STRESS_COLUMNS, Spectrum, Stress
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.work import Work
from autocast.layout import space_axes
from autocast.metrics.catalogue import BLOW_UP_RANGES
from autocast.metrics.spectral import isotropic_power

N_BINS = 500
"""Of lead times, at most."""
N_SPECTRA = 4
FRAMES_WITH_SPECTRA = 32
"""Of a trajectory's truth, at most."""
MEAN, STD, LOW, HIGH = range(4)


class StressStream:
    """Mean, std and extremes over space of long rollouts, by trajectory, bin of lead times and channel.

    Args:
        plan: Its `stress_trajectories` are rolled out.
        n_steps: Of the rollouts.
    """

    def __init__(self, plan: Plan, n_steps: int):
        self.n_steps = n_steps
        self.grid = plan.grid
        self.width = -(-n_steps // N_BINS)
        self.leads = tuple(sorted({round(lead) for lead in np.geomspace(1, n_steps, N_SPECTRA)}))
        n, n_bins, n_channels = len(plan.stress_trajectories), -(-n_steps // self.width), plan.spec.n_channels
        self._sums = np.zeros((n, n_bins, n_channels, 2))
        self._extremes = np.full((n, n_bins, n_channels, 2), [np.inf, -np.inf])
        self._counts = np.zeros((n, n_bins), dtype=int)
        self._truth = np.full((n, n_channels, 4, 2), np.nan)
        self._power = np.full((n, len(self.leads), self.grid.n_shells, n_channels), np.nan)
        self._truth_power = np.full((n, self.grid.n_shells, n_channels), np.nan)
        self.lost_at = np.zeros(n, dtype=int)

    def see_truth(self, numbers: Sequence[int], truth: Tensor) -> None:
        """The truth of trajectories, `(B, T, *S, C)`: the ranges of its moments, and its mean power."""
        moments = _moments(truth, self.grid.n_dims)
        self._truth[list(numbers)] = np.stack([moments.min(1), moments.max(1)], axis=-1)
        shown = np.unique(np.linspace(0, truth.shape[1] - 1, FRAMES_WITH_SPECTRA).round().astype(int))
        self._truth_power[list(numbers)] = isotropic_power(truth[:, shown], self.grid).mean(1).cpu().numpy()

    def add(self, numbers: Sequence[int], start: int, forecast: Tensor) -> None:
        """A window `(B, t, *S, C)` of one member, whose first frame has lead time `start + 1`."""
        rows = np.asarray(numbers)
        moments = _moments(forecast, self.grid.n_dims)
        for j in range(forecast.shape[1]):
            lead, place = start + j + 1, (start + j) // self.width
            fine = self._is_fine(rows, moments[:, j])
            self.lost_at[rows[~fine & (self.lost_at[rows] == 0)]] = lead
            kept = self.lost_at[rows] == 0
            alive, values = rows[kept], moments[kept, j]
            self._sums[alive, place] += values[..., :LOW]
            self._extremes[alive, place, :, 0] = np.minimum(self._extremes[alive, place, :, 0], values[..., LOW])
            self._extremes[alive, place, :, 1] = np.maximum(self._extremes[alive, place, :, 1], values[..., HIGH])
            self._counts[alive, place] += 1
            if lead in self.leads:
                power = isotropic_power(forecast[:, j], self.grid).cpu().numpy()
                self._power[alive, self.leads.index(lead)] = power[kept]

    def are_lost(self, numbers: Sequence[int]) -> bool:
        """Whether there is nothing left to see of these trajectories."""
        return bool(self.lost_at[list(numbers)].all())

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """All of some trajectories, by themselves."""
        return {name: array[list(numbers)] for name, array in self._arrays.items()}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        for name, array in self._arrays.items():
            array[list(numbers)] = arrays[name]

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "sums": self._sums,
            "extremes": self._extremes,
            "counts": self._counts,
            "truth": self._truth,
            "power": self._power,
            "truth_power": self._truth_power,
            "lost_at": self.lost_at,
        }

    def _is_fine(self, rows: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Whether frames with moments `(B, C, 4)` are finite and near the range of their truth: `(B,)`."""
        low, high = self._truth[rows, :, LOW, 0], self._truth[rows, :, HIGH, 1]
        reach = BLOW_UP_RANGES * np.where(high > low, high - low, np.inf)
        inside = (moments[..., LOW] >= low - reach) & (moments[..., HIGH] <= high + reach)
        return (inside & np.isfinite(moments).all(-1)).all(-1)

    def finish(self, channel_names: Sequence[str], units: Sequence[str]) -> Stress:
        """What was seen; averages are over the trajectories that had not blown up by then."""
        n_bins = self._counts.shape[1]
        last = np.minimum((np.arange(n_bins) + 1) * self.width, self.n_steps)
        ranges = np.stack([self._truth[..., 0].min(0), self._truth[..., 1].max(0)], axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = self._sums / self._counts[..., None, None]
        seen = self._counts > 0
        inside = (each >= ranges[:, :LOW, 0]) & (each <= ranges[:, :LOW, 1])
        stable = [float(np.mean((self.lost_at == 0) | (self.lost_at > lead))) for lead in last]
        rows = []
        for c, (channel, unit) in enumerate(zip(channel_names, units, strict=True)):
            known = [*ranges[c, MEAN], *ranges[c, STD]]
            for b in np.flatnonzero(seen.any(0)):
                alive = seen[:, b]
                low, high = self._extremes[alive, b, c, 0].min(), self._extremes[alive, b, c, 1].max()
                within = float(inside[alive, b, c].all(-1).mean())
                rows.append((last[b], channel, unit, stable[b], *each[alive, b, c].mean(0), low, high, within, *known))
        table = pd.DataFrame(rows, columns=list(STRESS_COLUMNS))
        return Stress(self.n_steps, table, self.lost_at.copy(), self._spectrum())

    def _spectrum(self) -> Spectrum | None:
        if self.grid.n_shells == 0:
            return None
        seen = np.isfinite(self._power).all((2, 3)).any(0)
        with np.errstate(invalid="ignore"):
            member = np.nanmean(self._power[:, seen], axis=0)
        truth = np.broadcast_to(self._truth_power.mean(0), member.shape)
        leads = tuple(lead for lead, is_seen in zip(self.leads, seen, strict=True) if is_seen)
        return Spectrum(np.array(self.grid.wavenumbers), leads, truth, member)


def check_stress(model: Forecasts, settings: EvaluationSettings) -> None:
    """Whether a model can be rolled out beyond its data.

    Raises:
        ConfigError: It is an autoencoder alone.
    """
    if settings.stress is not None and model.reconstructs:
        raise ConfigError(
            f"eval.stress={settings.stress}: an autoencoder alone is not rolled out. Leave eval.stress=null."
        )


def stress_test(work: Work, n_steps: int, parts: Parts | None) -> Stress:
    """Rolls one member of each of the plan's `stress_trajectories` out for `n_steps` steps, or until none is left.

    Args:
        work: Its model is rolled out, and it is told of progress.
        n_steps: Of each rollout.
        parts: Of the stress test alone; it goes on behind them.
    """
    plan, first = work.plan, work.model_forecaster
    stream = StressStream(plan, n_steps)
    forecaster = ModelForecaster(first.model, 1, first.seed, first.device, plan.max_rows)
    done = parts.restore({"stress": stream}) if parts else []
    work.progress(len(done) * n_steps)
    work.scored(len(done))
    left_out = {*done, *range(len(plan.stress_trajectories), plan.n_trajectories)}
    for numbers in plan.test.groups(plan.batch_size, without=left_out):
        _roll_out(work, stream, forecaster, numbers)
        if parts:
            parts.keep(numbers, {"stress": stream})
        work.scored(len(numbers))
    return stream.finish(plan.spec.channel_names, plan.spec.units)


def _roll_out(work: Work, stream: StressStream, forecaster: ModelForecaster, numbers: Sequence[int]) -> None:
    batch, start = work.plan.test.read(numbers), 0
    for number, truth in zip(numbers, batch.truth.split(1), strict=True):
        stream.see_truth([number], truth.to(torch.float32))
    for window in forecaster.windows(batch, stream.n_steps):
        stream.add(numbers, start, window[:, 0].float())
        start += window.shape[2]
        work.progress(window.shape[2] * len(numbers))
        if stream.are_lost(numbers):
            break
    work.progress((stream.n_steps - start) * len(numbers))


def _moments(fields: Tensor, n_dims: int) -> np.ndarray:
    """Of fields `(B, T, *S, C)` mean, std, least and largest value over space: `(B, T, C, 4)`."""
    axes = space_axes(n_dims)
    parts = [fields.mean(axes), fields.std(axes, correction=0), fields.amin(axes), fields.amax(axes)]
    return torch.stack(parts, dim=-1).double().cpu().numpy()
