"""The assembled autoencoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.bottlenecks import Bottleneck, Posterior
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

    @property
    def latent_bound(self) -> float | None:
        """What no latent number exceeds in size; None where there is no such bound."""
        return self.encoder.latent_bound if self.bottleneck.keeps_bound else None

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b te *se ce"]:
        """The latents that a processor works on: after the bottleneck, without its noise."""
        return self.bottleneck(self.encoder.encode(x), None)

    def decode(self, z: Float[Tensor, "b te *se ce"]) -> Float[Tensor, "b t *s c"]:
        return self.decoder.decode(self.bottleneck.settle(z))

    def reconstruct(
        self, x: Float[Tensor, "b t *s c"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "b t *s c"], Posterior]:
        """The reconstruction of `x`, and the posterior that it is from; with `noise` as in training."""
        z = self.encoder.encode(x)
        if noise is not None:
            self.bottleneck.learn(z, noise)
        posterior = self.bottleneck.posterior(z)
        return self.decoder.decode(posterior.mode if noise is None else posterior.sample(noise)), posterior

    def forward(self, x: Float[Tensor, "b t *s c"], noise: Noise | None = None) -> Float[Tensor, "b t *s c"]:
        """The reconstruction of `x`; with `noise` as in training."""
        return self.reconstruct(x, noise)[0]
