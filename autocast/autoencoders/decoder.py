"""What decoders promise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """Encoded steps to normalised fields.

    Constructors take `(encoder, *, <hyper-parameters>)`; a hyper-parameter that is None is the encoder's.
    """

    @property
    def last_weight(self) -> nn.Parameter | None:
        """Of the layer that gives the fields; None where none does."""
        return None

    @abstractmethod
    def decode(self, z: Float[Tensor, "b te *se ce"]) -> Float[Tensor, "b t *s c"]:
        """`(B, T', *S', C')` to `(B, T, *S, C)`."""
