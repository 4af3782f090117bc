"""Distances of one tensor from another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from autocast.layout import space_axes


def mse(forecast: Float[Tensor, "*any"], truth: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Mean squared error over everything."""
    return (forecast - truth).square().mean()


def vmse(
    error: Float[Tensor, "b m t *s c"], truth: Float[Tensor, "b t *s c"], n_spatial_dims: int
) -> Float[Tensor, ""]:
    """Mean of `error^2 / (variance + 1e-7)`, with the (unbiased) variance of the truth over space, for each channel and
    step.

    References:
        | The Well: a large-scale collection of diverse physics simulations for machine learning (Ohana et al., 2024)
        | https://arxiv.org/abs/2412.00568
    """
    variance = truth.var(dim=space_axes(n_spatial_dims), keepdim=True)
    return (error.square() / (variance + 1e-7).unsqueeze(1)).mean()
