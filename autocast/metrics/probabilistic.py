"""Scores of an ensemble against the truth, in physical units.

Every function takes truth `(B, T, *S, C)` and forecast `(B, M, T, *S, C)`: members are axis 1 and space is the
`n_spatial_dims` axes before the last, whatever the sizes. Results are `(B, T, C)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autocast.layout import space_axes
from autocast.losses import ensemble
from autocast.metrics.deterministic import mae

ALPHA = 0.95
"""Share of the fair score in the almost fair one, as AIFS-CRPS has it."""
MAX_LEVELS = 19
"""Central intervals that are looked at, at most."""


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


def interval_coverage(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Share of points whose truth lies in the central interval of the members: `(B, T, C, n_levels)`.

    An interval between the order statistics a < b holds the truth where a <= rank < b, the rank being the number of
    members below it. Its nominal level (b - a) / (M + 1) is exact for every finite ensemble, which interpolated
    quantiles are not. Where members equal the truth, the rank is one of several with equal probability; the result is
    the expectation over that choice.
    """
    y = truth.unsqueeze(1)
    below, ties = (x.sum(1).to(truth.dtype) for x in (forecast < y, forecast == y))
    axes = space_axes(n_spatial_dims)
    shares = [
        (((below + ties).clamp(max=b - 1) - below.clamp(min=a) + 1).clamp(min=0) / (ties + 1)).mean(axes)
        for a, b in interval_ranks(forecast.shape[1])
    ]
    undefined = (truth.isnan() | forecast.isnan().any(1)).any(axes)
    return torch.stack(shares, dim=-1).masked_fill(undefined.unsqueeze(-1), torch.nan)
