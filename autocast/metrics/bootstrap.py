"""Intervals for averages over trajectories, and for what is made of them, by the bootstrap.

Trajectories are drawn anew, with replacement; an interval lies between percentiles of what the draws give. Those of few
trajectories are too narrow, so the percentiles are moved outwards as far as Student's t lies beyond the normal. The
points, steps and members of a trajectory are not independent of each other: average over them first. Two models are
compared on the same trajectories, which are then drawn together: what makes a trajectory hard for both cancels.

References:
    | An Introduction to the Bootstrap (Efron and Tibshirani, 1993) | https://doi.org/10.1201/9780429246593
    | What Teachers Should Know About the Bootstrap, expanded percentiles (Hesterberg, 2015) | https://arxiv.org/abs/1411.5279
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

N_RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its bounds, each `(...)`; not a number where a value is not one."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def excludes(self, value: float) -> np.ndarray:
        """Whether `value` is outside: of a difference 0, or of a ratio 1, where one model is better than the other."""
        return np.asarray((value < self.low) | (value > self.high))


def bootstrap(
    formula: Callable[..., np.ndarray],
    *values: np.ndarray,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A formula of averages over trajectories, such as a ratio of two means.

    Args:
        formula: From the averages of `values`, each `(..., *any)`, to the estimate `(..., *out)`.
        values: `(N, *any)` each: one row per trajectory, the same trajectory in the same row of all.
        level: Probability that the interval is meant to cover the truth with.
        n_resamples: Draws of N trajectories.
        seed: Of the draws, which depend on nothing else but N.

    Raises:
        ValueError: There are fewer than two trajectories, or not as many in all values, or `level` is no probability.
    """
    n_trajectories = _common_length(values)
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must be between 0 and 1")
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(n_trajectories, np.full(n_trajectories, 1 / n_trajectories), n_resamples) / n_trajectories
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(formula(*(np.mean(value, axis=0) for value in values)))
        draws = formula(*(np.tensordot(shares, value, axes=1) for value in values))
    tail = _tail(level, n_trajectories)
    low, high = (np.asarray(np.quantile(draws, q, axis=0)) for q in (tail, 1 - tail))
    return Interval(estimate, low, high)


def bootstrap_mean(values: np.ndarray, **settings: Any) -> Interval:
    """The mean over the trajectories of `(N, *any)`; see `bootstrap` for the settings."""
    return bootstrap(lambda mean: mean, values, **settings)


def paired_difference(first: np.ndarray, second: np.ndarray, **settings: Any) -> Interval:
    """The mean of one model, `(N, *any)`, less that of another on the same trajectories."""
    return bootstrap(lambda a, b: a - b, first, second, **settings)


def paired_ratio(first: np.ndarray, second: np.ndarray, **settings: Any) -> Interval:
    """The mean of one model, `(N, *any)`, over that of another on the same trajectories: a ratio of means."""
    return bootstrap(lambda a, b: a / b, first, second, **settings)


def _tail(level: float, n: int) -> float:
    """Share of the draws that is left out at each end; their variance is (n - 1) / n of the unbiased one."""
    return float(ndtr(stdtrit(n - 1, (1 - level) / 2) * np.sqrt(n / (n - 1))))


def _common_length(values: tuple[np.ndarray, ...]) -> int:
    lengths = {len(value) for value in values}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(f"values of {sorted(lengths)} trajectories: all need the same number, at least 2")
    return lengths.pop()
