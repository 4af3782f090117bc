"""Deep-compression networks: space goes to channels in steps of two, with gated blocks at every resolution.

With shortcuts, every step but the finest learns what differs from a fixed map of the same shape: on the way down the
means of neighbouring channels of the unshuffled image, on the way up channels repeated before the shuffle. They have no
parameters and cost next to nothing.

References:
    | Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models (Chen et al., 2024)
    | https://arxiv.org/abs/2410.10733
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.nn.blocks import GatedBlock
from autocast.nn.compilation import Network
from autocast.nn.convolution import Convolution, channels_last
from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle


def saturate(z: Float[Tensor, "*any"], bound: float) -> Float[Tensor, "*any"]:
    """`z / sqrt(1 + (z / bound)**2)`: the identity near 0, never beyond `bound`."""
    return z * torch.rsqrt(1 + (z / bound).square())


class DeepCompressionDown(Network):
    """Images `(B, C, *S)` to latents `(B, latent_channels, *S / 2**n)`, n the number of `widths`.

    Each stage unshuffles by two and brings the channels to its width, the first by a 3-point convolution, the others
    point by point, then applies its blocks.
    """

    def __init__(
        self,
        in_channels: int,
        latent_channels: int,
        *,
        periodic: tuple[bool, ...],
        widths: Sequence[int],
        blocks: Sequence[int],
        shortcut: bool = False,
    ) -> None:
        """With a `shortcut`, each width times the points of a step is a multiple of the next width."""
        super().__init__()
        self._shortcut = shortcut
        n_points = 2 ** len(periodic)
        inputs = [in_channels, *widths[:-1]]
        self.mixes = nn.ModuleList(
            Convolution(n_points * before, after, _kernel_size(stage), periodic=periodic)
            for stage, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )
        self.stages = nn.ModuleList(_stage(*pair, periodic) for pair in zip(widths, blocks, strict=True))
        self.tail = Convolution(widths[-1], latent_channels, 1, periodic=periodic)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *sl"]:
        x = channels_last(x)
        for stage in range(len(self.stages)):
            x = self._halve(stage, x)
        return self.tail(x)

    def features(self, x: Float[Tensor, "b c *s"]) -> list[Float[Tensor, "b k *sk"]]:
        """What every stage gives, from the finest grid to the coarsest."""
        found = [channels_last(x)]
        for stage in range(len(self.stages)):
            found.append(self._halve(stage, found[-1]))
        return found[1:]

    def _halve(self, stage: int, x: Tensor) -> Tensor:
        x, nothing = pixel_unshuffle(x, 2), x.new_empty(x.shape[0], 0)
        mixed = self.mixes[stage](x)
        x = _plus_averages(mixed, x) if self._shortcut and stage > 0 else mixed
        for block in self.stages[stage].children():
            x = block(x, nothing)
        return x


class DeepCompressionUp(Network):
    """The mirror of `DeepCompressionDown`: the same layers in the opposite order, at the same cost."""

    def __init__(
        self,
        latent_channels: int,
        out_channels: int,
        *,
        periodic: tuple[bool, ...],
        widths: Sequence[int],
        blocks: Sequence[int],
        shortcut: bool = False,
    ) -> None:
        """`widths` and `blocks` are the encoder's, from the finest stage to the coarsest."""
        super().__init__()
        self._shortcut = shortcut
        n_points = 2 ** len(periodic)
        outputs = [out_channels, *widths[:-1]]
        self.head = Convolution(latent_channels, widths[-1], 1, periodic=periodic)
        self.stages = nn.ModuleList(_stage(*pair, periodic) for pair in zip(widths, blocks, strict=True))
        self.mixes = nn.ModuleList(
            Convolution(before, n_points * after, _kernel_size(stage), periodic=periodic)
            for stage, (before, after) in enumerate(zip(widths, outputs, strict=True))
        )

    @property
    def last_weight(self) -> nn.Parameter:
        last = self.mixes[0]
        assert isinstance(last, Convolution)
        return last.weight

    def forward(self, z: Float[Tensor, "b l *sl"]) -> Float[Tensor, "b c *s"]:
        x, nothing = self.head(channels_last(z)), z.new_empty(z.shape[0], 0)
        for i, (mix, stage) in reversed([*enumerate(zip(self.mixes, self.stages, strict=True))]):
            for block in stage.children():
                x = block(x, nothing)
            mixed = mix(x)
            x = pixel_shuffle(_plus_repeats(mixed, x) if self._shortcut and i > 0 else mixed, 2)
        return x


def _plus_averages(mixed: Float[Tensor, "b c *s"], x: Float[Tensor, "b cn *s"]) -> Float[Tensor, "b c *s"]:
    """`mixed` and, in each of its channels, the mean of as many neighbouring channels of `x` as there are for it."""
    return mixed + x.unflatten(1, (mixed.shape[1], -1)).mean(2)


def _plus_repeats(mixed: Float[Tensor, "b cn *s"], x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b cn *s"]:
    """`mixed` and the channels of `x`, each repeated side by side."""
    return (mixed.unflatten(1, (x.shape[1], -1)) + x.unsqueeze(2)).flatten(1, 2)


def _kernel_size(stage: int) -> int:
    return 3 if stage == 0 else 1


def _stage(width: int, n_blocks: int, periodic: tuple[bool, ...]) -> nn.ModuleList:
    return nn.ModuleList(GatedBlock(width, periodic=periodic) for _ in range(n_blocks))
