"""Split conformal intervals of fields: scores of points, their histograms, and the quantiles that make intervals.

A score says how far a truth is from a forecast, in units of the forecast's own spread where it has one. Points of a
trajectory depend on each other, so a trajectory is the unit that is exchangeable: the distributions of scores of n
trajectories are averaged, and of the average the quantile `level (n + 1) / n` is taken. With a new trajectory's
distribution put at infinity this is the quantile `level` of all n + 1, which a point of the new one does not exceed
with probability `level` at least, and about `level (n + 1) / n` at most.

References:
    | Distribution-Free Prediction Sets for Two-Layer Hierarchical Models (Dunn, Wasserman and Ramdas, 2022)
    | https://doi.org/10.1080/01621459.2022.2060112
    | Distribution-Free Predictive Inference for Regression, locally weighted (Lei et al., 2018)
    | https://doi.org/10.1080/01621459.2017.1307116
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from autocast.layout import space_axes

SMALLEST, LARGEST = -64, 64
"""Exponents of 2 between which scores are told apart."""
PER_OCTAVE = 64
"""Bins from one power of 2 to the next: at most 1.6 % wide, and a quantile is interpolated within one."""
N_BINS = (LARGEST - SMALLEST) * PER_OCTAVE + 2
"""The first bin holds all that is smaller, the last one all that is larger or no number."""
COARSE_OCTAVE = 2
"""Bins from one power of 2 to the next where a trajectory has a histogram of its own."""
SMALLEST_SPREAD = 0.01
"""Of a point, as a share of the root mean square over its frame."""


def interval_scale(forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """What an interval is measured in: `(B, M, T, *S, C)` to `(B, T, *S, C)`.

    The standard deviation of the members, at least 1 % of its root mean square over the frame; 1 of a single forecast.
    """
    if forecast.shape[1] == 1:
        return torch.ones_like(forecast[:, 0])
    deviation = forecast - forecast.mean(1, keepdim=True)
    variance = deviation.square().sum(1) / (forecast.shape[1] - 1)
    smallest = SMALLEST_SPREAD**2 * variance.mean(space_axes(n_spatial_dims), keepdim=True)
    return variance.maximum(smallest).sqrt()


def bin_edges(per_octave: int = PER_OCTAVE) -> np.ndarray:
    """`(n + 1,)` from 0 to infinity, of bins equally wide between powers of 2."""
    octaves = 2.0 ** np.arange(SMALLEST, LARGEST)[:, None]
    inner = octaves * (1 + np.arange(per_octave) / per_octave)
    return np.concatenate([[0.0], inner.ravel(), [2.0**LARGEST, np.inf]])


def score_histogram(error: Tensor, scale: Tensor) -> Tensor:
    """Histograms of the scores `abs(error) / scale` over space: `(T, *S, C)` each to `(T, C, N_BINS)` counts.

    What is no number counts as infinitely far. Bins come from a number's bits, so they are the same on every device.
    """
    distance = error.abs()
    score = torch.where(distance == 0, distance, distance / scale)
    mantissa, exponent = torch.frexp(score)
    place = (exponent.long() - 1 - SMALLEST) * PER_OCTAVE + ((2 * mantissa - 1) * PER_OCTAVE).long() + 1
    place = place.where(score >= 2.0**SMALLEST, 0).where(score < 2.0**LARGEST, N_BINS - 1)
    n_steps, n_channels = error.shape[0], error.shape[-1]
    first = torch.arange(n_steps * n_channels, device=error.device).view(n_steps, 1, n_channels) * N_BINS
    counts = torch.bincount((place.view(n_steps, -1, n_channels) + first).flatten(), minlength=first.numel() * N_BINS)
    return counts.view(n_steps, n_channels, N_BINS)


def coarsened(counts: np.ndarray) -> np.ndarray:
    """`(..., N_BINS)` to the counts in the bins of `bin_edges(COARSE_OCTAVE)`."""
    inner = counts[..., 1:-1].reshape(*counts.shape[:-1], -1, PER_OCTAVE // COARSE_OCTAVE).sum(-1)
    return np.concatenate([counts[..., :1], inner, counts[..., -1:]], axis=-1)


def conformal_level(level: float, n_trajectories: int) -> float:
    """The quantile to take; above 1 where there are too few trajectories."""
    share = level * (n_trajectories + 1) / n_trajectories
    return 1.0 if math.isclose(share, 1.0) else share


def trajectories_needed(level: float) -> int:
    """The fewest that an interval of this level can be fitted to."""
    return math.ceil(round(level / (1 - level), 9))


def histogram_quantile(counts: np.ndarray, share: float) -> np.ndarray:
    """The score that a share of the points does not exceed: `(..., n_bins)` to `(...)`, linear within a bin.

    Infinite where the share is above 1, or where so many points are in the last bin.
    """
    edges, n_bins = bin_edges(), counts.shape[-1]
    total = counts.sum(-1, keepdims=True)
    if share > 1:
        return np.full(counts.shape[:-1], np.inf)
    cumulated = np.cumsum(counts, axis=-1)
    wanted = share * total
    place = np.minimum((cumulated < wanted).sum(-1), n_bins - 1)[..., None]
    inside = np.take_along_axis(counts, place, -1)
    before = np.take_along_axis(cumulated, place, -1) - inside
    part = (wanted - before) / np.maximum(inside, 1)
    low, high = edges[place], edges[place + 1]
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(high), np.inf, low + part * (np.where(np.isinf(high), low, high) - low))[..., 0]


def share_below(counts: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of points with at most a score: coarse counts `(N, ..., n_bins)` and scores `(...)` to `(N, ...)`."""
    edges = bin_edges(COARSE_OCTAVE)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, counts.shape[-1] - 1)
    low, high = edges[place], edges[place + 1]
    with np.errstate(invalid="ignore"):
        part = np.where(np.isinf(high), 1.0, (score - low) / (high - low))
    places = np.broadcast_to(place, counts.shape[:-1])[..., None]
    inside = np.take_along_axis(counts, places, -1)[..., 0]
    before = np.take_along_axis(np.cumsum(counts, axis=-1), places, -1)[..., 0] - inside
    return (before + part * inside) / counts.sum(-1)


def symmetric_intervals(
    truth: Tensor, centre: Tensor, scale: Tensor, quantiles: Tensor, levels: list[float], n_spatial_dims: int
) -> Tensor:
    """Coverage, width and Winkler's score of `centre ± quantile * scale`, averaged over space: `(B, T, C, n, 3)`.

    Args:
        truth: `(B, T, *S, C)`
        centre: As `truth`.
        scale: As `truth`.
        quantiles: `(T, C, n)`; of an infinite one the interval is all numbers.
        levels: `(n,)`
        n_spatial_dims: Of `S`.
    """
    axes, measured = space_axes(n_spatial_dims), []
    distance = (truth - centre).abs()
    for k, level in enumerate(levels):
        quantile = quantiles[..., k].view(len(quantiles), *[1] * n_spatial_dims, -1)
        half = torch.where(quantile.isinf(), quantile, quantile * scale)
        inside = (distance <= half).to(truth.dtype).where(~distance.isnan(), torch.nan)
        score = 2 * half + 2 / (1 - level) * (distance - half).clamp(min=0)
        measured.append(torch.stack([x.mean(axes) for x in (inside, 2 * half, score)], dim=-1))
    return torch.stack(measured, dim=-2)
