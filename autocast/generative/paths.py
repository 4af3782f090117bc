"""Paths from noise (t = 0) to data (t = 1), along which flows are trained."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def linear_path(
    x_0: Float[Tensor, "b ..."], x_1: Float[Tensor, "b ..."], t: Float[Tensor, " b"]
) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
    """The straight path `x_t = (1 - t) x_0 + t x_1` and its velocity `x_1 - x_0`.

    References:
        | Flow Matching for Generative Modeling (Lipman et al., 2022)
        | https://arxiv.org/abs/2210.02747
    """
    velocity = x_1 - x_0
    return x_0 + t.reshape(-1, *[1] * (x_0.ndim - 1)) * velocity, velocity
