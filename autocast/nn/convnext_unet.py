"""ConvNeXt U-Net: depthwise convolutions and point-by-point networks at several resolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.backbone import Backbone
from autocast.nn.checkpointing import run_block
from autocast.nn.conditioning import ConditionEmbedding, Modulation
from autocast.nn.convolution import Convolution, Doubling, Halving, channels_last
from autocast.nn.sizes import check_positive, most_levels, sized

KERNEL_SIZE = 7


@dataclass(frozen=True)
class Hyper:
    width: int
    levels: int
    blocks: int


PLANE = {
    "xs": Hyper(width=20, levels=3, blocks=2),
    "s": Hyper(width=40, levels=3, blocks=2),
    "m": Hyper(width=64, levels=4, blocks=2),
    "l": Hyper(width=88, levels=5, blocks=2),
    "xl": Hyper(width=152, levels=5, blocks=2),
}
SPACE = {
    "xs": Hyper(width=14, levels=3, blocks=2),
    "s": Hyper(width=32, levels=3, blocks=2),
    "m": Hyper(width=56, levels=4, blocks=2),
    "l": Hyper(width=80, levels=5, blocks=2),
    "xl": Hyper(width=144, levels=5, blocks=2),
}
SIZES = {1: PLANE, 2: PLANE, 3: SPACE}
"""By the number of dimensions: a depthwise convolution in space has 343 weights."""


class ConvNeXtBlock(nn.Module):
    """`x + s * W2 gelu(W1 n)` with n the modulated norm of a depthwise convolution of x.

    W1 and W2 act point by point, with four times as many channels between them. The scale s of each channel starts at
    0.1: at the 1e-6 of the paper single precision loses what the block adds, and the gradients within it.

    References:
        | A ConvNet for the 2020s (Liu et al., 2022)
        | https://arxiv.org/abs/2201.03545
    """

    def __init__(self, channels: int, *, periodic: tuple[bool, ...], condition_features: int = 0) -> None:
        super().__init__()
        self.depthwise = Convolution(channels, channels, KERNEL_SIZE, periodic=periodic, groups=channels)
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.modulation = Modulation(condition_features, channels, initial=(1.0, 0.0, 0.1))
        self.pointwise = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Float[Tensor, "b c *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b c *s"]:
        vectors = self.modulation(condition)
        scale, shift, layer_scale = (v.reshape(v.shape[0], *[1] * (x.ndim - 2), -1) for v in vectors)
        h = self.norm(self.depthwise(x).movedim(1, -1))
        h = layer_scale * self.pointwise(torch.addcmul(shift, h, scale))
        return x + h.movedim(-1, 1)


class ConvNeXtUNet(Backbone):
    """`blocks` ConvNeXt blocks at each of `levels` resolutions, down and up again; the width doubles with each level.

    The CNextU-Net of The Well's benchmark, there with width 42, 5 levels and 2 blocks: one more block at the coarsest
    resolution, none on the way up at the finest; skips are concatenated. Different here: the norms are told of the
    condition, axes may be periodic, grids odd, the layer scale starts larger, and the finest skip is used too. On
    periodic axes divisible by `2**(levels - 1)` the network commutes with shifts by that many points.

    References:
        | The Well: a Large-Scale Collection of Diverse Physics Simulations for Machine Learning (Ohana et al., 2024)
        | https://arxiv.org/abs/2412.00568
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
        levels: int | None = None,
        blocks: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What is None is the size's."""
        super().__init__()
        hyper = sized(SIZES[len(grid_shape)], size, width=width, levels=levels, blocks=blocks)
        if levels is None:
            hyper = replace(hyper, levels=min(hyper.levels, most_levels(grid_shape)))
        check_positive("a ConvNeXt U-Net", width=hyper.width, levels=hyper.levels, blocks=hyper.blocks)
        self._recompute = gradient_checkpointing
        widths = [hyper.width * 2**level for level in range(hyper.levels)]
        features = hyper.width if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = Convolution(in_channels, hyper.width, 3, periodic=periodic)
        self.tail = Convolution(hyper.width, out_channels, 3, periodic=periodic)

        def stack(channels: int, n_blocks: int) -> nn.ModuleList:
            return nn.ModuleList(
                ConvNeXtBlock(channels, periodic=periodic, condition_features=features) for _ in range(n_blocks)
            )

        self.down_stacks = nn.ModuleList(stack(channels, hyper.blocks) for channels in widths[:-1])
        self.neck = stack(widths[-1], hyper.blocks + 1)
        self.up_stacks = nn.ModuleList(
            stack(channels, hyper.blocks if level > 0 else 0) for level, channels in enumerate(widths[:-1])
        )
        steps = [*pairwise(widths)]
        self.down_norms = nn.ModuleList(_Norm(fine) for fine, _ in steps)
        self.downs = nn.ModuleList(Halving(fine, coarse, periodic=periodic) for fine, coarse in steps)
        self.up_norms = nn.ModuleList(_Norm(coarse) for _, coarse in steps)
        self.ups = nn.ModuleList(Doubling(coarse, fine, n_axes=len(periodic)) for fine, coarse in steps)
        self.joins = nn.ModuleList(Convolution(2 * fine, fine, 1, periodic=periodic) for fine, _ in steps)

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        x = self.head(channels_last(x))
        skips = []
        for stack, norm, down in zip(self.down_stacks, self.down_norms, self.downs, strict=True):
            x = self._through(stack, x, condition)
            skips.append(x)
            x = down(norm(x))
        x = self._through(self.neck, x, condition)
        levels = [*zip(self.up_norms, self.ups, self.joins, self.up_stacks, skips, strict=True)]
        for norm, up, join, stack, skip in reversed(levels):
            x = join(torch.cat([up(norm(x), tuple(skip.shape[2:])), skip], dim=1))
            x = self._through(stack, x, condition)
        return self.tail(x)

    def _through(self, stack: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
        for block in stack.children():
            x = run_block(block, x, condition, recompute=self._recompute)
        return x


class _Norm(nn.Module):
    """Layer norm over the channels of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)
