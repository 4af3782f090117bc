"""Bottlenecks: what happens to latents between encoder and decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from autocast.generative.noise import Noise


class Bottleneck(nn.Module, ABC):
    """A map of latents `(B, T, *S, C)` to latents of the same shape."""

    @abstractmethod
    def forward(self, z: Float[Tensor, "b t *s c"], noise: Noise | None) -> Float[Tensor, "b t *s c"]:
        """Maps `z`; `noise` is there in training only, and without it the map is deterministic."""


class IdentityBottleneck(Bottleneck):
    """Latents as they are; in training with normal noise of standard deviation `noise` added.

    The decoder then learns to forgive the small errors of a processor's latents.
    """

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, z: Float[Tensor, "b t *s c"], noise: Noise | None) -> Float[Tensor, "b t *s c"]:
        if noise is None or self.noise == 0:
            return z
        return z + self.noise * noise.normal(*z.shape[1:], like=z)
