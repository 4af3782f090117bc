"""The assembled autoencoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.bottlenecks import Bottleneck
from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.generative.noise import Noise


class Autoencoder(nn.Module):
    """Encoder, bottleneck, decoder; all on normalised fields."""

    def __init__(self, encoder: Encoder, bottleneck: Bottleneck, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b te *se ce"]:
        """The latents that a processor works on: after the bottleneck, without its noise."""
        return self.bottleneck(self.encoder.encode(x), None)

    def decode(self, z: Float[Tensor, "b te *se ce"]) -> Float[Tensor, "b t *s c"]:
        return self.decoder.decode(z)

    def forward(self, x: Float[Tensor, "b t *s c"], noise: Noise | None = None) -> Float[Tensor, "b t *s c"]:
        """The reconstruction of `x`; with `noise` as in training."""
        return self.decoder.decode(self.bottleneck(self.encoder.encode(x), noise))
