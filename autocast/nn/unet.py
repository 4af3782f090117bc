"""U-Net: gated convolutional blocks at one or more resolutions, with skip connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.nn.attention import ImageAttention
from autocast.nn.backbone import Backbone
from autocast.nn.blocks import GatedBlock
from autocast.nn.checkpointing import run_block
from autocast.nn.conditioning import ConditionEmbedding
from autocast.nn.convolution import Convolution, channels_last, resize
from autocast.nn.sizes import check_positive, most_levels, sized


@dataclass(frozen=True)
class Hyper:
    width: int
    levels: int
    blocks: int
    kernel_size: int = 3
    attention: Sequence[int] = ()


SIZES = {
    1: {
        "xs": Hyper(width=24, levels=3, blocks=2),
        "s": Hyper(width=48, levels=3, blocks=2),
        "m": Hyper(width=64, levels=4, blocks=2, attention=(3,)),
        "l": Hyper(width=192, levels=4, blocks=2, attention=(3,)),
        "xl": Hyper(width=336, levels=4, blocks=2, attention=(3,)),
    },
    2: {
        "xs": Hyper(width=16, levels=3, blocks=2),
        "s": Hyper(width=32, levels=3, blocks=2),
        "m": Hyper(width=48, levels=4, blocks=2, attention=(3,)),
        "l": Hyper(width=128, levels=4, blocks=2, attention=(3,)),
        "xl": Hyper(width=224, levels=4, blocks=2, attention=(3,)),
    },
    3: {
        "xs": Hyper(width=8, levels=3, blocks=2),
        "s": Hyper(width=20, levels=3, blocks=2),
        "m": Hyper(width=28, levels=4, blocks=2, attention=(3,)),
        "l": Hyper(width=80, levels=4, blocks=2, attention=(3,)),
        "xl": Hyper(width=136, levels=4, blocks=2, attention=(3,)),
    },
}
"""By the number of dimensions: the weights of a convolution grow threefold with each."""


class UNet(Backbone):
    """`blocks` gated blocks at each of `levels` resolutions, down and up again; the width doubles from level to level.

    One level is a plain residual stack at full resolution. At the levels of `attention`, 0 the finest, every block is
    followed by attention of all points of that grid. Grids need not be divisible: a level halves them rounding up, and
    the way back meets the skip's shape. On periodic axes divisible by `2**(levels - 1)` the network commutes with
    shifts by that many points.

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
        size: str = "s",
        width: int | None = None,
        levels: int | None = None,
        blocks: int | None = None,
        kernel_size: int | None = None,
        attention: Sequence[int] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """What is None is the size's: of its levels those with more than one point, of its attention that at the levels
        that there are."""
        super().__init__()
        hyper = sized(SIZES[len(grid_shape)], size, width=width, levels=levels, blocks=blocks, kernel_size=kernel_size)
        if levels is None:
            hyper = replace(hyper, levels=min(hyper.levels, most_levels(grid_shape)))
        if attention is None:
            attention = [level for level in hyper.attention if level < hyper.levels]
        _check(hyper, attention)
        self._recompute = gradient_checkpointing
        widths = [hyper.width * 2**level for level in range(hyper.levels)]
        features = hyper.width if condition_features else 0
        self.embedding = ConditionEmbedding(condition_features, features) if features else nn.Identity()
        self.head = Convolution(in_channels, hyper.width, hyper.kernel_size, periodic=periodic)

        def stack(level: int) -> nn.ModuleList:
            modules: list[nn.Module] = []
            for _ in range(hyper.blocks):
                modules.append(
                    GatedBlock(
                        widths[level],
                        periodic=periodic,
                        condition_features=features,
                        kernel_size=hyper.kernel_size,
                    )
                )
                if level in attention:
                    grid = tuple(-(-n // 2**level) for n in grid_shape)
                    modules.append(
                        ImageAttention(widths[level], grid_shape=grid, periodic=periodic, condition_features=features)
                    )
            return nn.ModuleList(modules)

        self.down_stacks = nn.ModuleList(stack(level) for level in range(hyper.levels))
        self.up_stacks = nn.ModuleList(stack(level) for level in range(hyper.levels - 1))
        self.downs = nn.ModuleList(Convolution(a, b, 3, periodic=periodic, stride=2) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(Convolution(b, a, 1, periodic=periodic) for a, b in pairwise(widths))
        self.tail = Convolution(hyper.width, out_channels, hyper.kernel_size, periodic=periodic)

    def forward(self, x: Float[Tensor, "b ci *s"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b co *s"]:
        condition = self.embedding(condition)
        x = self.head(channels_last(x))
        skips = []
        for level, stack in enumerate(self.down_stacks):
            if level > 0:
                skips.append(x)
                x = self.downs[level - 1](x)
            x = self._through(stack, x, condition)
        for up, stack in zip(reversed(self.ups), reversed(self.up_stacks), strict=True):
            skip = skips.pop()
            x = self._through(stack, skip + resize(up(x), tuple(skip.shape[2:])), condition)
        return self.tail(x)

    def _through(self, stack: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
        for block in stack.children():
            x = run_block(block, x, condition, recompute=self._recompute)
        return x


def _check(hyper: Hyper, attention: Sequence[int]) -> None:
    check_positive(
        "a U-Net", width=hyper.width, levels=hyper.levels, blocks=hyper.blocks, kernel_size=hyper.kernel_size
    )
    if hyper.kernel_size % 2 == 0:
        raise ConfigError(f"backbone.kernel_size={hyper.kernel_size}: must be odd (1, 3, 5, ...).")
    if any(level not in range(hyper.levels) for level in attention):
        raise ConfigError(
            f"backbone.attention={[*attention]}: the levels are 0 (the finest) to {hyper.levels - 1}. "
            "Choose among them, or set more backbone.levels."
        )
    if 0 in attention and hyper.width % 2:
        raise ConfigError(f"backbone.width={hyper.width}: attention at level 0 needs an even width.")
