"""No compression: the processor works on the fields themselves."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.errors import ConfigError
from autocast.types import FieldSpec


class IdentityEncoder(Encoder):
    """Every frame as it is."""

    merges_frames: ClassVar[bool] = False

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec, n_channels=spec.n_channels, grid_shape=spec.grid_shape)

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        return x

    def mirror(self) -> IdentityDecoder:
        return IdentityDecoder(self)


class IdentityDecoder(Decoder):
    """Every frame as it is."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, IdentityEncoder):
            raise ConfigError(
                f"decoder=identity cannot decode what {type(encoder).__name__} encodes. "
                "Choose the decoder of the same kind, or decoder=null for the encoder's mirror."
            )

    def decode(self, z: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        return z
