"""All frames of a window as channels of one step: no compression, but one image instead of several."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.errors import ConfigError
from autocast.layout import merge_frames, split_frames
from autocast.types import FieldSpec


class PermuteConcatEncoder(Encoder):
    """`(B, T, *S, C)` to `(B, 1, *S, T*C)`, the channel running fastest."""

    merges_frames: ClassVar[bool] = True

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec, n_channels=spec.n_channels, grid_shape=spec.grid_shape)

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b 1 *s tc"]:
        return merge_frames(x)

    def mirror(self) -> ChannelsLastDecoder:
        return ChannelsLastDecoder(self)


class ChannelsLastDecoder(Decoder):
    """`(B, T', *S, F*C)` to `(B, T'*F, *S, C)`: frames out of the channels again, for any number F of them."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if (encoder.n_channels, encoder.grid_shape) != (encoder.spec.n_channels, encoder.spec.grid_shape):
            raise ConfigError(
                f"decoder=channels_last only moves axes and cannot decode what {type(encoder).__name__} encodes. "
                "Use it with encoder=permute_concat or encoder=identity, or choose decoder=null for the mirror."
            )
        self._n_channels = encoder.n_channels

    def decode(self, z: Float[Tensor, "b te *s ce"]) -> Float[Tensor, "b t *s c"]:
        return split_frames(z, self._n_channels)
