"""Attention over the points of a grid, with rotary positions that know periodic axes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from autocast.nn.conditioning import Modulation


def rotary_angles(grid_shape: tuple[int, ...], periodic: tuple[bool, ...], n_pairs: int) -> Float[Tensor, "n p"]:
    """The angles by which the `n_pairs` feature pairs of each point turn, points in row-major order.

    The pairs are dealt to the axes in turn. On a periodic axis all frequencies are whole multiples of one turn per
    period, so attention depends on the distance around the circle only; on the others they fall geometrically from
    half a turn per point to half a turn per axis.

    References:
        | RoFormer: Enhanced Transformer with Rotary Position Embedding (Su et al., 2021)
        | https://arxiv.org/abs/2104.09864
    """
    points = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid_shape), indexing="ij")
    columns = []
    for pair in range(n_pairs):
        i, axis = divmod(pair, len(grid_shape))
        n, n_on_axis = grid_shape[axis], len(range(axis, n_pairs, len(grid_shape)))
        if periodic[axis]:
            frequency = 2 * math.pi / n * (1 + i % max(n // 2, 1))
        else:
            frequency = math.pi * n ** (-i / max(n_on_axis - 1, 1))
        columns.append(points[axis].flatten() * frequency)
    return torch.stack(columns, dim=1).float()


def wall_features(grid_shape: tuple[int, ...], periodic: tuple[bool, ...], n_waves: int = 8) -> Float[Tensor, "n f"]:
    """Cosines of the place on each axis that is not periodic, where the absolute place matters."""
    points = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in grid_shape), indexing="ij")
    waves = torch.arange(1, n_waves + 1) * math.pi
    features = [
        (place.flatten()[:, None] * waves).cos() for place, wraps in zip(points, periodic, strict=True) if not wraps
    ]
    return torch.cat(features, dim=1) if features else torch.zeros(math.prod(grid_shape), 0)


def rotate(
    x: Float[Tensor, "b h n f"], cosines: Float[Tensor, "n p"], sines: Float[Tensor, "n p"]
) -> Float[Tensor, "b h n f"]:
    """Turns the pairs (j, j + F/2) of the features."""
    x_1, x_2 = x.chunk(2, dim=-1)
    return torch.cat([x_1 * cosines - x_2 * sines, x_1 * sines + x_2 * cosines], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of every point to every point; queries and keys are normalised."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.norm = nn.RMSNorm(dim // heads, elementwise_affine=False)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        cosines: Float[Tensor, "n p"],
        sines: Float[Tensor, "n p"],
        mask: Bool[Tensor, "b 1 n n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """With a `mask`, a point attends to those points that it is true for."""
        q, k, v = self.query_key_value(x).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (rotate(self.norm(x), cosines, sines).to(v.dtype) for x in (q, k))  # autocast norms in single precision
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Reach(nn.Module, ABC):
    """Which points of a grid attend to which."""

    @abstractmethod
    def forward(self, attention: Attention, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The attention of the points `x`, in row-major order."""


class FullReach(Reach):
    """Every point attends to every point."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, grid_shape: tuple[int, ...], periodic: tuple[bool, ...], *, n_pairs: int) -> None:
        """`n_pairs` is half of the features of a head."""
        super().__init__()
        angles = rotary_angles(grid_shape, periodic, n_pairs)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, attention: Attention, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return attention(x, self.cosines, self.sines)


class TransformerBlock(nn.Module):
    """Attention, then a point-by-point network, both behind adaptive norms and gates that start nearly shut.

    References:
        | Scalable Diffusion Models with Transformers (Peebles & Xie, 2022)
        | https://arxiv.org/abs/2212.09748
    """

    def __init__(self, dim: int, heads: int, *, condition_features: int = 0, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = Modulation(condition_features, dim, initial=(1.0, 0.0, 0.1) * 2)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim))

    def forward(
        self, x: Float[Tensor, "b n d"], condition: Float[Tensor, "b c"], reach: Reach
    ) -> Float[Tensor, "b n d"]:
        modulation = (vector[:, None] for vector in self.modulation(condition))
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = modulation
        x = x + gate_1 * reach(self.attention, torch.addcmul(shift_1, self.norm(x), scale_1))
        return x + gate_2 * self.mlp(torch.addcmul(shift_2, self.norm(x), scale_2))


class ImageAttention(nn.Module):
    """Attention of every point of an image to every point, behind an adaptive norm and a gate that starts nearly shut.

    Heads have about 64 features.
    """

    def __init__(
        self, channels: int, *, grid_shape: tuple[int, ...], periodic: tuple[bool, ...], condition_features: int = 0
    ) -> None:
        """The number of `channels` is even."""
        super().__init__()
        heads = max(h for h in range(1, max(channels // 64, 1) + 1) if channels % (2 * h) == 0)
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.modulation = Modulation(condition_features, channels, initial=(1.0, 0.0, 0.1))
        self.attention = Attention(channels, heads)
        self.reach = FullReach(grid_shape, periodic, n_pairs=channels // heads // 2)

    def forward(self, x: Float[Tensor, "b c *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c *s"]:
        scale, shift, gate = (vector[:, None] for vector in self.modulation(condition))
        points = x.flatten(2).transpose(1, 2)
        y = gate * self.reach(self.attention, torch.addcmul(shift, self.norm(points), scale))
        return x + y.transpose(1, 2).unflatten(2, x.shape[2:])
