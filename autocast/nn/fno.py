"""Fourier neural operator: blocks that convolve in Fourier space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.backbone import Backbone
from autocast.nn.checkpointing import run_block
from autocast.nn.conditioning import ConditionEmbedding, Modulation
from autocast.nn.convolution import Convolution
from autocast.nn.sizes import check_positive, sized
from autocast.nn.spectral import SpectralConvolution


@dataclass(frozen=True)
class Hyper:
    width: int
    blocks: int
    modes: int


SIZES = {
    1: {
        "xs": Hyper(width=32, blocks=4, modes=24),
        "s": Hyper(width=64, blocks=4, modes=24),
        "m": Hyper(width=160, blocks=4, modes=40),
        "l": Hyper(width=384, blocks=4, modes=64),
        "xl": Hyper(width=640, blocks=4, modes=72),
    },
    2: {
        "xs": Hyper(width=16, blocks=4, modes=7),
        "s": Hyper(width=32, blocks=4, modes=7),
        "m": Hyper(width=64, blocks=4, modes=12),
        "l": Hyper(width=128, blocks=4, modes=16),
        "xl": Hyper(width=192, blocks=4, modes=19),
    },
    3: {
        "xs": Hyper(width=12, blocks=4, modes=3),
        "s": Hyper(width=20, blocks=4, modes=4),
        "m": Hyper(width=32, blocks=4, modes=6),
        "l": Hyper(width=52, blocks=4, modes=9),
        "xl": Hyper(width=80, blocks=4, modes=10),
    },
}
"""By the number of dimensions: the weights of a block grow with the number of its modes."""


class FourierBlock(nn.Module):
    """`x + W gelu(spectral convolution of h + V h)` with h the modulated norm of x; V and W act point by point."""

    def __init__(
        self,
        channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        modes: int,
        condition_features: int = 0,
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=False)
        self.modulation = Modulation(condition_features, channels, initial=(1.0, 0.0))
        self.spectral = SpectralConvolution(channels, channels, grid_shape=grid_shape, periodic=periodic, modes=modes)
        self.local = Convolution(channels, channels, 1, periodic=periodic)
        self.out = Convolution(channels, channels, 1, periodic=periodic, gain=0.1)

    def forward(self, x: Float[Tensor, "b c *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c *s"]:
        scale, shift = (v.reshape(*v.shape, *[1] * (x.ndim - 2)) for v in self.modulation(condition))
        h = torch.addcmul(shift, self.norm(x), scale)
        return x + self.out(F.gelu(self.spectral(h) + self.local(h)))


class FNO(Backbone):
    """Fourier blocks between maps that act point by point.

    Commutes with every shift along periodic axes. Grids may have any number of points.

    References:
        | Fourier Neural Operator for Parametric Partial Differential Equations (Li et al., 2020)
        | https://arxiv.org/abs/2010.08895
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        condition_features: int,
        size: str = "s",
        width: int | None = None,
        blocks: int | None = None,
        modes: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What is None is the size's. `modes` is the largest wavenumber along each axis, if the grid resolves it."""
        super().__init__()
        hyper = sized(SIZES[len(grid_shape)], size, width=width, blocks=blocks, modes=modes)
        check_positive("an FNO", width=hyper.width, blocks=hyper.blocks, modes=hyper.modes)
        self._recompute = gradient_checkpointing
        features = hyper.width if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = Convolution(in_channels, hyper.width, 1, periodic=periodic)
        self.blocks = nn.ModuleList(
            FourierBlock(
                hyper.width,
                grid_shape=grid_shape,
                periodic=periodic,
                modes=hyper.modes,
                condition_features=features,
            )
            for _ in range(hyper.blocks)
        )
        self.tail = nn.Sequential(
            Convolution(hyper.width, 2 * hyper.width, 1, periodic=periodic),
            nn.GELU(),
            Convolution(2 * hyper.width, out_channels, 1, periodic=periodic),
        )

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        x = self.head(x)
        for block in self.blocks:
            x = run_block(block, x, condition, recompute=self._recompute)
        return self.tail(x)
