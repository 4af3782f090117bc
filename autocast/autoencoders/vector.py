"""An autoencoder whose latents are one vector for each frame, without a grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder, check_divides
from autocast.errors import ConfigError
from autocast.layout import frames_to_images, images_to_frames
from autocast.nn.compilation import Network
from autocast.nn.convolution import Convolution, channels_last, resize
from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle
from autocast.types import FieldSpec


class VectorEncoder(Encoder):
    """Each frame `(*S, C)` to `(1, ..., 1, latent_channels)`: convolutions that halve the grid, and a linear map.

    A vector has no place, so nothing commutes with shifts, and processors that look at neighbours have none.

    Args:
        spec: Of the fields.
        widths: Channels behind every halving of the grid.
        latent_channels: Numbers of the vector.
    """

    merges_frames: ClassVar[bool] = False

    def __init__(
        self, spec: FieldSpec, *, widths: Sequence[int] = (64, 128, 256, 512), latent_channels: int = 256
    ) -> None:
        if not widths or min(widths) < 1:
            raise ConfigError(f"encoder.widths={list(widths)}: at least one width, each at least 1, is needed.")
        check_divides(spec, 2 ** len(widths), "encoder.widths")
        super().__init__(spec, n_channels=latent_channels, grid_shape=(1,) * spec.n_spatial_dims)
        self.widths = tuple(widths)
        self.shapes = tuple(tuple(n // 2**level for n in spec.grid_shape) for level in range(len(widths) + 1))
        self.network = VectorDown(spec.n_channels, latent_channels, self.widths, self.shapes, spec.periodic)

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *se ce"]:
        return images_to_frames(self.network(frames_to_images(x)), x.shape[1])

    def features(self, x: Float[Tensor, "b t *s c"]) -> list[Float[Tensor, "n k *sk"]]:
        return self.network.features(frames_to_images(x))

    def mirror(self) -> VectorDecoder:
        return VectorDecoder(self)


class VectorDecoder(Decoder):
    """The encoder's layers in the opposite order."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, VectorEncoder):
            raise ConfigError(
                f"decoder=vector cannot decode what {type(encoder).__name__} encodes. "
                "Use it with encoder=vector, or choose decoder=null for the encoder's mirror."
            )
        n_channels = encoder.spec.n_channels
        self.network = VectorUp(encoder.n_channels, n_channels, encoder.widths, encoder.shapes, encoder.periodic)

    @property
    def last_weight(self) -> nn.Parameter:
        return self.network.last_weight

    def decode(self, z: Float[Tensor, "b t *se ce"]) -> Float[Tensor, "b t *s c"]:
        return images_to_frames(self.network(frames_to_images(z)), z.shape[1])


class VectorDown(Network):
    """Images `(B, C, *S)` to `(B, latent_channels, 1, ..., 1)`; first, neighbouring points become channels."""

    def __init__(
        self,
        in_channels: int,
        latent_channels: int,
        widths: Sequence[int],
        shapes: Sequence[tuple[int, ...]],
        periodic: tuple[bool, ...],
    ) -> None:
        super().__init__()
        pairs = list(pairwise([2 ** len(periodic) * in_channels, *widths]))
        self.convolutions = nn.ModuleList(
            Convolution(a, b, 3, periodic=periodic, stride=2 if level else 1) for level, (a, b) in enumerate(pairs)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, b) for _, b in pairs)
        self.tail = nn.Linear(widths[-1] * prod(shapes[-1]), latent_channels)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *sl"]:
        n_dims = x.ndim - 2
        x = pixel_unshuffle(channels_last(x), 2)
        for level in range(len(self.norms)):
            x = self._level(level, x)
        z = self.tail(x.flatten(1))
        return z.reshape(*z.shape, *[1] * n_dims)

    def features(self, x: Float[Tensor, "b c *s"]) -> list[Float[Tensor, "b k *sk"]]:
        """What every level gives, from the finest grid to the coarsest."""
        found = [pixel_unshuffle(channels_last(x), 2)]
        for level in range(len(self.norms)):
            found.append(self._level(level, found[-1]))
        return found[1:]

    def _level(self, level: int, x: Tensor) -> Tensor:
        return F.silu(self.norms[level](self.convolutions[level](x)))


class VectorUp(Network):
    """The mirror of `VectorDown`: at every level a convolution, and each point repeated along every axis; at the last
    one channels become neighbouring points instead."""

    def __init__(
        self,
        latent_channels: int,
        out_channels: int,
        widths: Sequence[int],
        shapes: Sequence[tuple[int, ...]],
        periodic: tuple[bool, ...],
    ) -> None:
        super().__init__()
        self._shapes = shapes
        pairs = list(pairwise([out_channels, *widths]))
        self.head = nn.Linear(latent_channels, widths[-1] * prod(shapes[-1]))
        self.norms = nn.ModuleList(nn.GroupNorm(1, b) for _, b in pairs)
        self.convolutions = nn.ModuleList(
            Convolution(b, a if level else 2 ** len(periodic) * a, 3, periodic=periodic)
            for level, (a, b) in enumerate(pairs)
        )

    @property
    def last_weight(self) -> nn.Parameter:
        last = self.convolutions[0]
        assert isinstance(last, Convolution)
        return last.weight

    def forward(self, z: Float[Tensor, "b l *sl"]) -> Float[Tensor, "b c *s"]:
        coarse = self._shapes[-1]
        x = channels_last(self.head(z.flatten(1)).reshape(z.shape[0], -1, *coarse))
        for level in reversed(range(len(self.norms))):
            x = self.convolutions[level](F.silu(self.norms[level](x)))
            x = resize(x, self._shapes[level]) if level else pixel_shuffle(x, 2)
        return x
