"""The bottleneck of a variational autoencoder: a normal distribution for every latent number."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.bottlenecks import Bottleneck, Posterior
from autocast.generative.noise import Noise

LOGVAR_RANGE = (-30.0, 20.0)
"""Beyond it a variance is no number that can be worked with."""
ACTIVE_VARIANCE = 0.01
"""A unit is active if its mean varies by more from frame to frame (Burda et al., 2015)."""


class DiagonalGaussian(Posterior):
    """Independent normal distributions `N(mean, exp(logvar))`, `(B, T, *S, C)` each."""

    def __init__(self, mean: Tensor, logvar: Tensor):
        self.mode = self.mean = mean
        self.logvar = logvar.clamp(*LOGVAR_RANGE)

    def sample(self, noise: Noise) -> Float[Tensor, "b t *s c"]:
        return self.mean + (0.5 * self.logvar).exp() * noise.normal(*self.mean.shape[1:], like=self.mean)

    def penalty(self) -> Float[Tensor, "b t *s c"]:
        """Divergence of each from a standard normal distribution, in nats."""
        return kl_to_standard_normal(self.mean, self.logvar)

    def usage(self) -> dict[str, Tensor]:
        """`active_units`: channels whose mean, at an average point, varies from frame to frame with more than a
        variance of `ACTIVE_VARIANCE`. Of a single frame it is not known: nan.

        References:
            | Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov, 2015) | https://arxiv.org/abs/1509.00519
        """
        frames = self.mean.detach().flatten(0, 1).float()
        variance = frames.var(0, correction=0).flatten(0, -2).mean(0)
        n_active = (variance > ACTIVE_VARIANCE).sum().float()
        return {"active_units": n_active if len(frames) > 1 else torch.full_like(n_active, torch.nan)}


class GaussianBottleneck(Bottleneck):
    """Mean and logarithm of the variance from a linear map of a point's channels; a sample in training, else the mean.

    The map starts with the mean where the encoder has it, and a standard deviation of exp(-2), so that training starts
    near an autoencoder without noise.

    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013) | https://arxiv.org/abs/1312.6114
    """

    term: ClassVar[str | None] = "kl"

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.moments = nn.Linear(n_channels, 2 * n_channels)
        with torch.no_grad():
            self.moments.weight.copy_(torch.cat([torch.eye(n_channels), torch.zeros(n_channels, n_channels)]))
            self.moments.bias.copy_(torch.cat([torch.zeros(n_channels), torch.full((n_channels,), -4.0)]))

    def posterior(self, z: Float[Tensor, "b t *s c"]) -> DiagonalGaussian:
        moments = self.moments(z)
        full = torch.promote_types(moments.dtype, torch.float32)  # sums of many numbers are made of them
        return DiagonalGaussian(*moments.to(full).chunk(2, dim=-1))


def kl_to_standard_normal(mean: Float[Tensor, "*any"], logvar: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Divergence of `N(mean, exp(logvar))` from a standard normal distribution, in nats, for every number."""
    return -0.5 * (1 + logvar - mean.square() - logvar.exp())
