"""Distances of one tensor from another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def mse(forecast: Float[Tensor, "*any"], truth: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Mean squared error over everything."""
    return (forecast - truth).square().mean()


def mae(forecast: Float[Tensor, "*any"], truth: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Mean absolute error over everything."""
    return (forecast - truth).abs().mean()
