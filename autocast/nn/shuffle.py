"""Space to channels and back: pixel (un)shuffle over one to three axes."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pixel_unshuffle(x: Float[Tensor, "b c *s"], factor: int) -> Float[Tensor, "b cf *sf"]:
    """`(B, C, *S)` to `(B, C * factor**d, *S / factor)`, the axes of the small blocks running fastest."""
    if x.ndim == 4:
        return F.pixel_unshuffle(x, factor)
    n_axes = x.ndim - 2
    coarse = [n // factor for n in x.shape[2:]]
    x = x.reshape(*x.shape[:2], *(size for n in coarse for size in (n, factor)))
    x = x.permute(0, 1, *range(3, 3 + 2 * n_axes, 2), *range(2, 2 + 2 * n_axes, 2))
    return x.reshape(x.shape[0], -1, *coarse)


def pixel_shuffle(x: Float[Tensor, "b cf *sf"], factor: int) -> Float[Tensor, "b c *s"]:
    """`(B, C * factor**d, *S)` to `(B, C, *S * factor)`: the inverse of `pixel_unshuffle`."""
    if x.ndim == 4:
        return F.pixel_shuffle(x, factor)
    n_axes, grid_shape = x.ndim - 2, x.shape[2:]
    x = x.reshape(x.shape[0], -1, *[factor] * n_axes, *grid_shape)
    pairs = (axis for i in range(n_axes) for axis in (2 + n_axes + i, 2 + i))
    return x.permute(0, 1, *pairs).reshape(*x.shape[:2], *(n * factor for n in grid_shape))
