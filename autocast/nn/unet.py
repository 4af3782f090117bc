"""U-Net: gated convolutional blocks at one or more resolutions, with skip connections."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.nn.backbone import Backbone
from autocast.nn.blocks import GatedBlock
from autocast.nn.conditioning import ConditionEmbedding
from autocast.nn.convolution import Convolution, channels_last, resize


class UNet(Backbone):
    """`blocks` gated blocks at each of `levels` resolutions, down and up again; the width doubles from level to level.

    One level is a plain residual stack at full resolution. Grids need not be divisible: a level halves them rounding
    up, and the way back meets the skip's shape. On periodic axes divisible by `2**(levels - 1)` the network commutes
    with shifts by that many points.

    References:
        | U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al., 2015)
        | https://arxiv.org/abs/1505.04597
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        condition_features: int,
        width: int = 32,
        levels: int = 3,
        blocks: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        _check(width=width, levels=levels, blocks=blocks, kernel_size=kernel_size)
        _check_reach(grid_shape, periodic, levels, kernel_size)
        widths = [width * 2**level for level in range(levels)]
        features = width if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = Convolution(in_channels, width, kernel_size, periodic=periodic)

        def stack(channels: int) -> nn.ModuleList:
            return nn.ModuleList(
                GatedBlock(channels, periodic=periodic, condition_features=features, kernel_size=kernel_size)
                for _ in range(blocks)
            )

        self.down_stacks = nn.ModuleList(stack(channels) for channels in widths)
        self.up_stacks = nn.ModuleList(stack(channels) for channels in widths[:-1])
        self.downs = nn.ModuleList(Convolution(a, b, 3, periodic=periodic, stride=2) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(Convolution(b, a, 1, periodic=periodic) for a, b in pairwise(widths))
        self.tail = Convolution(width, out_channels, kernel_size, periodic=periodic)

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        x = self.head(channels_last(x))
        skips = []
        for level, stack in enumerate(self.down_stacks):
            if level > 0:
                skips.append(x)
                x = self.downs[level - 1](x)
            x = _apply(stack, x, condition)
        for up, stack in zip(reversed(self.ups), reversed(self.up_stacks), strict=True):
            skip = skips.pop()
            x = _apply(stack, skip + resize(up(x), tuple(skip.shape[2:])), condition)
        return self.tail(x)


def _apply(stack: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    for block in stack.children():
        x = block(x, condition)
    return x


def _check_reach(grid_shape: tuple[int, ...], periodic: tuple[bool, ...], levels: int, kernel_size: int) -> None:
    coarsest = [-(-n // 2 ** (levels - 1)) for n, wraps in zip(grid_shape, periodic, strict=True) if wraps]
    if coarsest and kernel_size // 2 > min(coarsest):
        raise ConfigError(
            f"backbone.kernel_size={kernel_size} reaches more than once around the coarsest grid of backbone.levels="
            f"{levels}, {min(coarsest)} points on a periodic axis. Set fewer levels or a smaller kernel."
        )


def _check(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"backbone.{name}={value}: a U-Net needs at least 1. Set {name}=1 or more.")
    if values["kernel_size"] % 2 == 0:
        raise ConfigError(f"backbone.kernel_size={values['kernel_size']}: must be odd (1, 3, 5, ...).")
