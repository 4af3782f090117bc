"""Residual networks that halve or double the grid from level to level, as autoencoders of images have them.

References:
    | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2020) | https://arxiv.org/abs/2012.09841
    | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2021)
    | https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.attention import ImageAttention
from autocast.nn.compilation import Network
from autocast.nn.convolution import Convolution, channels_last, resize

MOST_GROUPS = 32


@dataclass(frozen=True)
class Levels:
    """Of a network, from the finest grid to the coarsest."""

    grid_shapes: tuple[tuple[int, ...], ...]
    periodic: tuple[bool, ...]
    widths: tuple[int, ...]
    n_blocks: int
    """Of every level."""
    attention: tuple[bool, ...]
    """Whether blocks of a level are followed by attention of all points of its grid."""
    middle_attention: bool
    dropout: float = 0.0


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and convolution, around which the input is added."""

    def __init__(self, channels: int, *, periodic: tuple[bool, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_norm(channels) for _ in range(2))
        self.first = Convolution(channels, channels, 3, periodic=periodic)
        self.dropout = nn.Dropout(dropout)
        self.second = Convolution(channels, channels, 3, periodic=periodic, gain=0.1)

    def forward(self, x: Float[Tensor, "b c *s"], nothing: Float[Tensor, "b 0"]) -> Float[Tensor, "b c *s"]:  # noqa: ARG002
        """`nothing` is where other blocks have a condition."""
        h = self.first(F.silu(self.norms[0](x)))
        return x + self.second(self.dropout(F.silu(self.norms[1](h))))


class ResNetDown(Network):
    """Images `(B, C, *S)` to latents `(B, latent_channels, *S / 2**(n - 1))`, n the number of levels."""

    def __init__(self, in_channels: int, latent_channels: int, levels: Levels) -> None:
        super().__init__()
        periodic, widths = levels.periodic, levels.widths
        self.head = Convolution(in_channels, widths[0], 3, periodic=periodic)
        self.stacks = nn.ModuleList(_stack(levels, level) for level in range(len(widths)))
        self.downs = nn.ModuleList(Convolution(a, b, 3, periodic=periodic, stride=2) for a, b in pairwise(widths))
        self.middle = _middle(levels)
        self.norm = _norm(widths[-1])
        self.tail = Convolution(widths[-1], latent_channels, 3, periodic=periodic)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *sl"]:
        x = self.head(channels_last(x))
        for level in range(len(self.stacks)):
            x = self._level(level, x)
        return self.tail(F.silu(self.norm(_through(self.middle, x))))

    def features(self, x: Float[Tensor, "b c *s"]) -> list[Float[Tensor, "b k *sk"]]:
        """What every level gives, from the finest grid to the coarsest."""
        found = [self.head(channels_last(x))]
        for level in range(len(self.stacks)):
            found.append(self._level(level, found[-1]))
        return found[1:]

    def _level(self, level: int, x: Tensor) -> Tensor:
        return _through(self.stacks[level], self.downs[level - 1](x) if level > 0 else x)


class ResNetUp(Network):
    """The mirror of `ResNetDown`: the same layers in the opposite order."""

    def __init__(self, latent_channels: int, out_channels: int, levels: Levels) -> None:
        super().__init__()
        periodic, widths = levels.periodic, levels.widths
        self._grid_shapes = levels.grid_shapes
        self.head = Convolution(latent_channels, widths[-1], 3, periodic=periodic)
        self.middle = _middle(levels)
        self.stacks = nn.ModuleList(_stack(levels, level) for level in range(len(widths)))
        self.ups = nn.ModuleList(Convolution(b, a, 3, periodic=periodic) for a, b in pairwise(widths))
        self.norm = _norm(widths[0])
        self.tail = Convolution(widths[0], out_channels, 3, periodic=periodic)

    @property
    def last_weight(self) -> nn.Parameter:
        return self.tail.weight

    def forward(self, z: Float[Tensor, "b l *sl"]) -> Float[Tensor, "b c *s"]:
        x = _through(self.middle, self.head(channels_last(z)))
        for level, stack in reversed([*enumerate(self.stacks)]):
            x = _through(stack, x)
            if level > 0:
                x = resize(self.ups[level - 1](x), self._grid_shapes[level - 1])
        return self.tail(F.silu(self.norm(x)))


def _stack(levels: Levels, level: int) -> nn.ModuleList:
    width, modules = levels.widths[level], nn.ModuleList()
    for _ in range(levels.n_blocks):
        modules.append(ResidualBlock(width, periodic=levels.periodic, dropout=levels.dropout))
        if levels.attention[level]:
            modules.append(ImageAttention(width, grid_shape=levels.grid_shapes[level], periodic=levels.periodic))
    return modules


def _middle(levels: Levels) -> nn.ModuleList:
    width, shape = levels.widths[-1], levels.grid_shapes[-1]
    blocks = [ResidualBlock(width, periodic=levels.periodic, dropout=levels.dropout) for _ in range(2)]
    if not levels.middle_attention:
        return nn.ModuleList(blocks)
    return nn.ModuleList([blocks[0], ImageAttention(width, grid_shape=shape, periodic=levels.periodic), blocks[1]])


def _through(stack: nn.Module, x: Tensor) -> Tensor:
    nothing = x.new_empty(x.shape[0], 0)
    for block in stack.children():
        x = block(x, nothing)
    return x


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(MOST_GROUPS, channels), channels, eps=1e-6)
