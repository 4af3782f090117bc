"""Scores of an ensemble against the truth, in physical units.

Every function takes truth `(B, T, *S, C)` and forecast `(B, M, T, *S, C)`: members are axis 1 and space is the
`n_spatial_dims` axes before the last, whatever the sizes. Results are `(B, T, C)`.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from autocast.layout import space_axes
from autocast.losses import ensemble
from autocast.metrics.catalogue import (
    ALPHA,
    INTERPOLATED_LEVELS,
    MAX_LEVELS,
    VARIOGRAM_ORDER,
    VARIOGRAM_PAIRS,
    VARIOGRAM_SEED,
    WINKLER_LEVEL,
)
from autocast.metrics.deterministic import mae, squared_errors


def crps(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Continuous ranked probability score of the members' empirical distribution, averaged over space."""
    return _mean_crps(truth, forecast, n_spatial_dims, alpha=0.0)


def crps_fair(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """CRPS whose expectation does not depend on the number of members; the absolute error of a single one."""
    return _mean_crps(truth, forecast, n_spatial_dims, alpha=1.0)


def crps_almost_fair(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """CRPS between the plain and the fair one, alpha = .95; the absolute error of a single member."""
    return _mean_crps(truth, forecast, n_spatial_dims, alpha=ALPHA)


def half_pair_distance(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Half the mean distance of two different members, averaged over space: `(B, T, C)`; 0 of one member.

    The absolute error less a multiple of it is the CRPS: the multiple is 1 in the fair one.
    """
    return mae(truth, forecast, n_spatial_dims) - crps_fair(truth, forecast, n_spatial_dims)


def _mean_crps(truth: Tensor, forecast: Tensor, n_spatial_dims: int, alpha: float) -> Tensor:
    pointwise = ensemble.crps(forecast, truth, alpha if forecast.shape[1] > 1 else 0.0)
    return pointwise.mean(space_axes(n_spatial_dims))


def ensemble_variance(forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Unbiased variance of the members, averaged over space: `(B, T, C)`. Its root is the spread."""
    deviation = forecast - forecast.mean(dim=1, keepdim=True)  # several times faster than torch's var along members
    variance = deviation.square().sum(dim=1) / (forecast.shape[1] - 1)
    return variance.mean(space_axes(n_spatial_dims))


def interval_ranks(n_members: int) -> list[tuple[int, int]]:
    """Pairs (a, b) of order statistics of central intervals, widest first; at most 19, evenly chosen."""
    pairs = [(a, n_members + 1 - a) for a in range(1, n_members // 2 + 1)]
    if len(pairs) <= MAX_LEVELS:
        return pairs
    return [pairs[round(i * (len(pairs) - 1) / (MAX_LEVELS - 1))] for i in range(MAX_LEVELS)]


def interval_levels(n_members: int) -> list[float]:
    """Probability (b - a) / (M + 1) with which the interval of `interval_ranks` holds an exchangeable truth."""
    return [(b - a) / (n_members + 1) for a, b in interval_ranks(n_members)]


def rank_cuts(n_members: int) -> list[int]:
    """Ranks up to which the truth's ranks are counted: every one but the last, or those that intervals begin and end
    at where there are many."""
    if n_members <= 2 * MAX_LEVELS:
        return list(range(n_members))
    return sorted({rank - 1 for pair in interval_ranks(n_members) for rank in pair})


def rank_cdf(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Share of points where the truth's rank is at most each of `rank_cuts`: `(B, T, C, n_cuts)`.

    The rank, 0 to M, is the number of members below the truth; every one is as probable if the ensemble is perfect.
    Where members equal the truth, it is one of several with equal probability; the result is the expectation over that
    choice.
    """
    y = truth.unsqueeze(1)
    below, ties = (x.sum(1).to(truth.dtype) for x in (forecast < y, forecast == y))
    axes = space_axes(n_spatial_dims)
    first, n_ranks = 1 - below, ties + 1
    shares = [((first + cut) / n_ranks).clamp(0, 1).mean(axes) for cut in rank_cuts(forecast.shape[1])]
    return _undefined_where_broken(torch.stack(shares, dim=-1), truth, forecast, n_spatial_dims)


def coverage_of_ranks(cdf: np.ndarray, n_members: int) -> np.ndarray:
    """Coverage of the central intervals of `interval_ranks` from `rank_cdf`: `(..., n_cuts)` to `(..., n_levels)`.

    An interval between the order statistics a < b holds the truth where a <= rank < b. Its nominal level
    (b - a) / (M + 1) is exact for every finite ensemble, which interpolated quantiles are not.
    """
    place = {cut: i for i, cut in enumerate(rank_cuts(n_members))}
    a, b = zip(*((place[a - 1], place[b - 1]) for a, b in interval_ranks(n_members)), strict=True)
    return cdf[..., list(b)] - cdf[..., list(a)]


def rank_shares(cdf: np.ndarray, n_members: int) -> tuple[np.ndarray, np.ndarray]:
    """The rank histogram from `rank_cdf`, and a perfect ensemble's: `(..., n_cuts + 1)` and `(n_cuts + 1,)`."""
    ends = np.array([*rank_cuts(n_members), n_members])
    shares = np.diff(cdf, axis=-1, prepend=0.0, append=1.0) + 0 * cdf[..., :1]  # not a number where the ranks are not
    return shares, np.diff(ends, prepend=-1) / (n_members + 1)


def interval_coverage(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Share of points whose truth lies in the central interval of the members: `(B, T, C, n_levels)`.

    See `coverage_of_ranks`, and `rank_cdf` of members that equal the truth.
    """
    cdf = rank_cdf(truth, forecast, n_spatial_dims)
    return torch.from_numpy(coverage_of_ranks(cdf.cpu().numpy(), forecast.shape[1])).to(cdf)


def interval_score(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Winkler's score of the intervals of `interval_ranks`, averaged over space: `(B, T, C, n_levels)`.

    The width, and `2 / alpha` times the distance of a truth outside; alpha is 1 less the interval's exact level.

    References:
        | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007)
        | https://doi.org/10.1198/016214506000001437
    """
    n_members, axes = forecast.shape[1], space_axes(n_spatial_dims)
    ordered = forecast.movedim(1, -1).contiguous().sort(dim=-1).values  # several times as fast as along axis 1
    scores = []
    for (a, b), level in zip(interval_ranks(n_members), interval_levels(n_members), strict=True):
        low, high = ordered[..., a - 1], ordered[..., b - 1]
        outside = (low - truth).clamp(min=0) + (truth - high).clamp(min=0)
        scores.append((high - low + 2 / (1 - level) * outside).mean(axes))
    return _undefined_where_broken(torch.stack(scores, dim=-1), truth, forecast, n_spatial_dims)


def interval_measures(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Coverage, width and Winkler's score of the intervals of `interval_ranks`: `(B, T, C, n_levels, 3)`."""
    ordered = forecast.sort(dim=1).values
    axes = space_axes(n_spatial_dims)
    widths = [(ordered[:, b - 1] - ordered[:, a - 1]).mean(axes) for a, b in interval_ranks(forecast.shape[1])]
    coverage = interval_coverage(truth, forecast, n_spatial_dims)
    return torch.stack([coverage, torch.stack(widths, -1), interval_score(truth, forecast, n_spatial_dims)], dim=-1)


def winkler_place(n_members: int) -> int:
    """Which of `interval_ranks` has the level nearest to .8; the wider one of two."""
    distances = [round(abs(level - WINKLER_LEVEL), 9) for level in interval_levels(n_members)]
    return distances.index(min(distances))


def interpolated_coverage(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Share of points between quantiles interpolated linearly from the members: `(B, T, C, n_levels)`.

    For comparison with those who measure it so: a perfect ensemble covers p (M - 1) / (M + 1), not p.
    """
    axes, n_members = space_axes(n_spatial_dims), forecast.shape[1]
    ordered = forecast.movedim(1, -1).contiguous().sort(dim=-1).values

    def quantile(q: float) -> Tensor:
        place = q * (n_members - 1)
        low = min(int(place), n_members - 2)
        return torch.lerp(ordered[..., low], ordered[..., low + 1], place - low)

    shares = [
        ((quantile((1 - p) / 2) <= truth) & (truth <= quantile((1 + p) / 2))).to(truth.dtype).mean(axes)
        for p in INTERPOLATED_LEVELS
    ]
    return _undefined_where_broken(torch.stack(shares, dim=-1), truth, forecast, n_spatial_dims)


def _undefined_where_broken(values: Tensor, truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """`(B, T, C, n)`, not a number where truth or members are not: comparisons with such a number are just false."""
    broken = (truth.isnan() | forecast.isnan().any(1)).any(space_axes(n_spatial_dims))
    return values.masked_fill(broken.unsqueeze(-1), torch.nan)


def half_pair_rms_distance(forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Half the mean over pairs of different members of the root mean square over space of their difference.

    `(B, T, C)`. O(M²) time, the memory of one member.
    """
    n_members = forecast.shape[1]
    total = torch.zeros_like(forecast[:, 0]).mean(space_axes(n_spatial_dims))
    for i in range(n_members):
        for j in range(i):
            total += squared_errors(forecast[:, i], forecast[:, j : j + 1], n_spatial_dims)[:, 0].sqrt()
    return total / (n_members * (n_members - 1))


def energy_score(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Energy score of the members' empirical distribution, of the vector of all points in space."""
    return _energy_score(truth, forecast, n_spatial_dims, pair_share=1 - 1 / forecast.shape[1])


def energy_score_fair(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Energy score whose expectation does not depend on the number of members."""
    return _energy_score(truth, forecast, n_spatial_dims, pair_share=1.0)


def _energy_score(truth: Tensor, forecast: Tensor, n_spatial_dims: int, pair_share: float) -> Tensor:
    error = squared_errors(truth, forecast, n_spatial_dims).sqrt().mean(1)
    n_points = prod(truth.shape[axis] for axis in space_axes(n_spatial_dims))
    return n_points**0.5 * (error - pair_share * half_pair_rms_distance(forecast, n_spatial_dims))


def variogram_score(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over `point_pairs` of the squared error of the members' mean variogram of order .5: `(B, T, C)`.

    References:
        | Variogram-Based Proper Scoring Rules for Probabilistic Forecasts of Multivariate Quantities
        | (Scheuerer and Hamill, 2015) | https://doi.org/10.1175/MWR-D-14-00269.1
    """
    axes = space_axes(n_spatial_dims)
    n_points = prod(truth.shape[axis] for axis in axes)
    pairs = point_pairs(n_points).to(truth.device)
    y, x = (_variogram(field.flatten(axes[0], axes[-1]), pairs) for field in (truth, forecast))
    return (y - x.mean(1)).square().mean(-2)


def _variogram(x: Tensor, pairs: Tensor) -> Tensor:
    """`(..., n_points, C)` to `(..., n_pairs, C)`."""
    return (x.index_select(-2, pairs[0]) - x.index_select(-2, pairs[1])).abs() ** VARIOGRAM_ORDER


@lru_cache(maxsize=8)
def point_pairs(n_points: int) -> Tensor:
    """Pairs of different points, the same for every score: `(2, n_pairs)` numbers of points, the last axis fastest."""
    generator = torch.Generator().manual_seed(VARIOGRAM_SEED)
    first = torch.randint(n_points, (VARIOGRAM_PAIRS,), generator=generator)
    step = torch.randint(1, n_points, (VARIOGRAM_PAIRS,), generator=generator)
    return torch.stack([first, (first + step) % n_points])
