"""What an evaluation found: scores, spectra, coverage and a few example trajectories, as plain tables and arrays.

`EvaluationResult` is all that the figures, the videos, the verdict and the report know of an evaluation. It holds
pandas and numpy only, so drawing needs neither torch nor the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from autocast.types import FieldSpec

MODEL = "model"
"""Value of the column `model` in the rows of the evaluated model; the baselines have their own names there."""
CALIBRATED = "calibrated"
"""Value of the column `model` in the rows of the evaluated model after calibration."""
PERSISTENCE, CLIMATOLOGY, LINEAR, RECONSTRUCTION = "persistence", "climatology", "linear", "reconstruction"
BASELINES = (PERSISTENCE, CLIMATOLOGY, LINEAR, RECONSTRUCTION)
SIMULATOR_HALF, SIMULATOR_QUARTER = "simulator_half", "simulator_quarter"
SIMULATORS = {SIMULATOR_HALF: 2, SIMULATOR_QUARTER: 4}
"""Baselines on request: the data's simulator on a grid with so many times fewer points along every axis."""
KNOWN_BASELINES = (*BASELINES, *SIMULATORS)

CARRIES = {"encode_once": "latents", "ambient": "fields"}
"""What a member carries from window to window, by mode of the rollout: that which is not the model's own has rows under
its name too."""

MEMBER, MEAN, ENSEMBLE = "member", "mean", "ensemble"
"""Values of the column `kind`: the average score of one member, the score of the ensemble's mean, a score of the whole
ensemble (CRPS, spread). A deterministic forecast has `member` rows only."""
ALL_CHANNELS = "all"
"""Value of the column `channel` in the rows that average the channels."""

LATENT_COLUMNS = ("channel", "mean", "std", "rms_increment", "minimum", "maximum", "saturated", "active")
SCORE_COLUMNS = ("model", "metric", "kind", "lead_time", "channel", "unit", "value", "low", "high")
COVERAGE_COLUMNS = ("level", "coverage", "window", "channel", "low", "high")
RANK_COLUMNS = ("first_rank", "last_rank", "share", "expected", "window", "channel", "low", "high")
WINKLER_COLUMNS = ("level", "value", "unit", "window", "channel")
STRESS_COLUMNS = (
    *("lead_time", "channel", "unit", "stable", "mean", "std", "minimum", "maximum", "within"),
    *("data_mean_low", "data_mean_high", "data_std_low", "data_std_high"),
)
CALIBRATION_COLUMNS = ("method", "lead_time", "channel", "level", "value", "unit", "n_trajectories")
INTERVAL_COLUMNS = (
    *("model", "lead_time", "channel", "level", "coverage", "low", "high", "width", "interval_score", "unit"),
)


@dataclass(frozen=True)
class Example:
    """One test trajectory and its forecast, in physical units."""

    trajectory: int
    """Index of the trajectory in its split."""
    initial: np.ndarray
    """`(Ti, *S, C)` the frames given to the model."""
    truth: np.ndarray
    """`(T, *S, C)`"""
    members: np.ndarray
    """`(M', T, *S, C)` a few members; one of a deterministic forecast."""
    mean: np.ndarray
    """`(T, *S, C)` mean of all the members, not only of those kept."""
    spread: np.ndarray | None = None
    """`(T, *S, C)` standard deviation over all the members; None of a deterministic forecast."""
    score: float | None = None
    """VRMSE of the ensemble's mean over the whole rollout: what ranks the examples."""
    scalars: dict[str, float] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        return int(self.truth.shape[0])


@dataclass(frozen=True)
class Spectrum:
    """Isotropic power spectra of truth and forecasts at a few lead times, averaged over trajectories and members."""

    wavenumber: np.ndarray
    """`(N,)` cycles per unit of length, the zero left out."""
    lead_times: tuple[int, ...]
    """`(L,)` in steps; the first forecast step is 1."""
    truth: np.ndarray
    """`(L, N, C)` power."""
    member: np.ndarray
    """`(L, N, C)` mean power of one member."""
    mean: np.ndarray | None = None
    """`(L, N, C)` power of the ensemble's mean; None of a deterministic forecast."""
    reconstruction: np.ndarray | None = None
    """`(L, N, C)` power of the truth through the autoencoder; None without compression."""
    member_bounds: np.ndarray | None = None
    """`(2, L, N, C)` low and high ends of the 95 % interval of `member` over trajectories."""


@dataclass(frozen=True)
class LatentUsage:
    """What an autoencoder makes of the room in its latents, over the frames that were scored."""

    table: pd.DataFrame
    """Columns `LATENT_COLUMNS`, a row for each channel of the latents, numbered from 0."""
    spectrum: np.ndarray
    """`(C,)` eigenvalues of the covariance of the channels, the largest first."""
    active_above: float
    """Std from which on a channel counts as active."""
    participation_ratio: float
    """How many channels of equal variance, free of each other, would be as spread out."""
    n_values: int
    """Numbers in a frame."""
    n_latents: int
    """Numbers in an encoded frame."""

    @property
    def n_channels(self) -> int:
        return len(self.table)

    @property
    def n_active(self) -> int:
        return int(self.table.active.sum())

    @property
    def compression(self) -> float:
        """Numbers in a frame over numbers in an encoded one."""
        return self.n_values / self.n_latents

    @property
    def saturated(self) -> float:
        """Share of all the values that are near the encoder's bound."""
        return float(self.table.saturated.mean())


@dataclass(frozen=True)
class Stress:
    """Rollouts far beyond the data."""

    n_steps: int
    table: pd.DataFrame
    """Columns `STRESS_COLUMNS`, a row for each channel and bin of lead times, of which `lead_time` is the last.

    `stable` is the share of trajectories that have not blown up by then; of those are mean and std over space, averaged
    over time and trajectories, the extremes, and `within`, the share whose mean and std are in the range of the data's.
    """
    lost_at: np.ndarray
    """`(N,)` lead time at which each trajectory blew up; 0 where it never did."""
    spectra: Spectrum | None = None
    """At a few lead times; the truth is the average over the data's frames."""

    @property
    def n_lost(self) -> int:
        return int((self.lost_at > 0).sum())


@dataclass(frozen=True)
class Calibration:
    """What a calibration was fitted to, and what it changed on the test split."""

    method: str
    """"spread" or "conformal"."""
    n_trajectories: int
    """Of the validation split."""
    fitted: pd.DataFrame
    """Columns `CALIBRATION_COLUMNS`: the factor of the members' deviations, or the half-width of the interval of a
    level in units of the spread (of a deterministic forecast, of the field)."""
    intervals: pd.DataFrame
    """Columns `INTERVAL_COLUMNS`: intervals of the model and of the calibrated one, in physical units."""
    coverage: pd.DataFrame
    """Columns `COVERAGE_COLUMNS`, of the calibrated intervals."""
    ranks: pd.DataFrame | None = None
    """Columns `RANK_COLUMNS`, of the calibrated ensemble; None where only intervals are calibrated."""

    @property
    def shown_level(self) -> float:
        """Of the intervals that stand for all: the one nearest to .8 that was calibrated."""
        levels = self.intervals[self.intervals.model == CALIBRATED].level.unique()
        return float(min(levels, key=lambda level: abs(level - 0.8)))

    def coverage_at_level(self, model: str) -> pd.DataFrame:
        """Columns `coverage`, `low` and `high` of `shown_level`, the mean over channels, by lead time."""
        rows = self.intervals
        chosen = rows[(rows.model == model) & (rows.level == self.shown_level) & (rows.channel == ALL_CHANNELS)]
        return chosen.set_index("lead_time")[["coverage", "low", "high"]].sort_index()


@dataclass(frozen=True)
class EvaluationResult:
    """Everything that one evaluation measured."""

    spec: FieldSpec
    scores: pd.DataFrame
    """Columns `SCORE_COLUMNS`; `lead_time` counts steps from 1."""
    n_members: int
    """1 of a deterministic forecast."""
    n_trajectories: int
    n_steps: int
    """Length of the rollout in steps."""
    deterministic: bool = False
    reconstructs: bool = False
    """Whether what was scored is the truth encoded and decoded: an autoencoder alone."""
    examples: list[Example] = field(default_factory=list)
    """In the order in which they were asked for."""
    spectra: Spectrum | None = None
    latents: LatentUsage | None = None
    """Of an autoencoder alone."""
    coverage: pd.DataFrame | None = None
    """Columns `COVERAGE_COLUMNS`: how often the central interval of probability `level` holds the truth.
    `window` is text such as "1" or "6-12" (first and last lead time); `channel`, `low` and `high` as in `scores`."""
    ranks: pd.DataFrame | None = None
    """Columns `RANK_COLUMNS`: share of points where the truth's rank among the members, 0 to M, is one of
    `first_rank ... last_rank`, and the share that a perfect ensemble has."""
    winkler: pd.DataFrame | None = None
    """Columns `WINKLER_COLUMNS`: Winkler's score of the central intervals of `coverage`, where it was asked for."""
    stress: Stress | None = None
    """Where it was asked for."""
    windows: pd.DataFrame | None = None
    """Scores averaged over windows of lead times: columns as `scores`, `window` in place of `lead_time`."""
    calibration: Calibration | None = None
    """What was asked for with `eval.calibrate`."""
    trajectories: pd.DataFrame | None = None
    """Scores of each trajectory over windows, the mean over channels: columns `model, metric, kind, window,
    trajectory, unit, value`."""
    lengths: tuple[int, ...] = ()
    """Steps that each trajectory was scored for."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Plain values: command, config, versions, seeds, digests; nested dictionaries are drawn as tables. The keys
    "command" (text that reproduces the evaluation) and "config" (YAML text) have places of their own in the report."""

    def series(self, metric: str, kind: str = MEMBER, model: str = MODEL, channel: str = ALL_CHANNELS) -> pd.Series:
        """One score against lead time: indexed by `lead_time`, empty where it was not measured."""
        s = self.scores
        rows = s[(s.metric == metric) & (s.kind == kind) & (s.model == model) & (s.channel == channel)]
        return rows.set_index("lead_time")["value"].sort_index()

    def bounds(self, metric: str, kind: str = MEMBER, model: str = MODEL, channel: str = ALL_CHANNELS) -> pd.DataFrame:
        """Columns `low` and `high` of the 95 % interval over trajectories, indexed as `series`."""
        s = self.scores
        rows = s[(s.metric == metric) & (s.kind == kind) & (s.model == model) & (s.channel == channel)]
        return rows.set_index("lead_time")[["low", "high"]].sort_index()

    @property
    def median_example(self) -> Example | None:
        """The example of median score: neither the best nor the worst stands for the model."""
        if not self.examples:
            return None
        ranked = sorted(self.examples, key=_score)
        return ranked[(len(ranked) - 1) // 2]


def _score(example: Example) -> float:
    """The example's score; where nobody measured it, the relative error of its mean forecast."""
    if example.score is not None:
        return example.score
    error = np.nanmean((example.mean - example.truth) ** 2)
    return float(np.sqrt(error / max(float(np.nanvar(example.truth)), 1e-30)))
