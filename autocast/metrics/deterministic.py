"""Scores of single forecasts against the truth, in physical units.

Every function takes truth `(B, T, *S, C)` and forecast `(B, M, T, *S, C)`, scores each of the M forecasts by itself and
returns the average of their scores, `(B, T, C)`. The score of an ensemble's mean, which is another forecast, is that of
`forecast.mean(1, keepdim=True)`. Space is the `n_spatial_dims` axes before the last: given, never guessed from sizes.
"""

from __future__ import annotations

from torch import Tensor

from autocast.layout import space_axes
from autocast.metrics.catalogue import VRMSE_EPS


def mse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over space of the squared error."""
    return squared_errors(truth, forecast, n_spatial_dims).mean(1)


def mae(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over space of the absolute error."""
    return _errors(truth, forecast).abs().mean(space_axes(n_spatial_dims)).mean(1)


def linf(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Largest absolute error in space."""
    return largest_errors(truth, forecast, n_spatial_dims).mean(1)


def rmse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Root of the mean over space of the squared error."""
    return squared_errors(truth, forecast, n_spatial_dims).sqrt().mean(1)


def nmse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean squared error over mean squared truth."""
    return mse(truth, forecast, n_spatial_dims) / mean_square(truth, n_spatial_dims)


def nmae(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean absolute error over mean absolute truth."""
    return mae(truth, forecast, n_spatial_dims) / mean_magnitude(truth, n_spatial_dims)


def nrmse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Root of mean squared error over mean squared truth: 1 for a forecast of zeros."""
    return rmse(truth, forecast, n_spatial_dims) / mean_square(truth, n_spatial_dims).sqrt()


def vmse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean squared error over the truth's variance in space, as in `vrmse`."""
    return mse(truth, forecast, n_spatial_dims) / (variance(truth, n_spatial_dims) + VRMSE_EPS)


def vrmse(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Root of mean squared error over the truth's variance in space: about 1 for a forecast of its spatial mean.

    The variance is unbiased and gets 1e-7 added.

    References:
        | The Well: a Large-Scale Collection of Diverse Physics Simulations for Machine Learning (Ohana et al., 2024)
        | https://arxiv.org/abs/2412.00568
    """
    return rmse(truth, forecast, n_spatial_dims) / (variance(truth, n_spatial_dims) + VRMSE_EPS).sqrt()


def correlation(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Pearson's correlation over space: 1 up to a shift and a positive factor, nan where one is constant."""
    axes = space_axes(n_spatial_dims)
    x, y = (field - field.mean(axes, keepdim=True) for field in (forecast, truth.unsqueeze(1)))
    x, y = (field / field.abs().amax(axes, keepdim=True) for field in (x, y))  # squares neither overflow nor vanish
    return ((x * y).sum(axes) / (x.square().sum(axes) * y.square().sum(axes)).sqrt()).mean(1)


def squared_errors(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over space of the squared error of each member: `(B, M, T, C)`."""
    return _errors(truth, forecast).square().mean(space_axes(n_spatial_dims))


def largest_errors(truth: Tensor, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Largest absolute error in space of each member: `(B, M, T, C)`."""
    return _errors(truth, forecast).abs().amax(space_axes(n_spatial_dims))


def mean_square(truth: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over space of the squared truth: `(B, T, C)`."""
    return truth.square().mean(space_axes(n_spatial_dims))


def mean_magnitude(truth: Tensor, n_spatial_dims: int) -> Tensor:
    """Mean over space of the absolute truth: `(B, T, C)`."""
    return truth.abs().mean(space_axes(n_spatial_dims))


def variance(truth: Tensor, n_spatial_dims: int) -> Tensor:
    """Unbiased variance of the truth in space: `(B, T, C)`."""
    return truth.var(space_axes(n_spatial_dims), correction=1)


def _errors(truth: Tensor, forecast: Tensor) -> Tensor:
    return forecast - truth.unsqueeze(1)
