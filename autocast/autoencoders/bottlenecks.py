"""Bottlenecks: what happens to latents between encoder and decoder.

A bottleneck makes of latents a posterior: what latents an encoder allows for, one of which the decoder gets. What keeps
that distribution, or its codes, in order is a penalty that the objective weighs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from autocast.generative.noise import Noise


class Posterior(ABC):
    """The latents that an encoder allows for, given a frame: `(B, T, *S, C)`."""

    mode: Tensor
    """The most probable ones: what processors work on."""

    @abstractmethod
    def sample(self, noise: Noise) -> Float[Tensor, "b t *s c"]:
        """Those that a decoder gets in training."""

    def penalty(self) -> Float[Tensor, "b t *s c"]:
        """What the bottleneck adds to an objective, for every latent number; see `Bottleneck.term`."""
        raise NotImplementedError(f"{type(self).__name__} has no penalty")

    def usage(self) -> dict[str, Tensor]:
        """How much of the latents is used by this batch, as scalars by name; empty where that is no question,
        nan where this batch cannot tell: all batches have the same names."""
        return {}


class Bottleneck(nn.Module, ABC):
    """A map of latents `(B, T, *S, C)` to latents of the same shape. Constructors take `(n_channels, *, ...)`.

    Attributes:
        term: Name of the term of the objective that the bottleneck is trained with; None where it needs none.
        keeps_bound: Whether latents stay within the encoder's bound.
    """

    term: ClassVar[str | None] = None
    keeps_bound: ClassVar[bool] = False

    @abstractmethod
    def posterior(self, z: Float[Tensor, "b t *s c"]) -> Posterior:
        """Of encoded latents."""

    def forward(self, z: Float[Tensor, "b t *s c"], noise: Noise | None) -> Float[Tensor, "b t *s c"]:
        """Maps `z`; `noise` is there in training only, and without it the map is deterministic."""
        posterior = self.posterior(z)
        return posterior.mode if noise is None else posterior.sample(noise)

    def settle(self, z: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        """The nearest latents that a decoder knows, for those that come from a processor."""
        return z

    def learn(self, z: Float[Tensor, "b t *s c"], noise: Noise) -> None:
        """Called once for every batch in training with the encoded latents, for what no gradient changes."""


class Plain(Posterior):
    """One value, in training with normal noise of standard deviation `noise` added."""

    def __init__(self, mode: Tensor, noise: float):
        self.mode = mode
        self.noise = noise

    def sample(self, noise: Noise) -> Float[Tensor, "b t *s c"]:
        if self.noise == 0:
            return self.mode
        return self.mode + self.noise * noise.normal(*self.mode.shape[1:], like=self.mode)


class IdentityBottleneck(Bottleneck):
    """Latents as they are; in training with normal noise of standard deviation `noise` added.

    The decoder then learns to forgive the small errors of a processor's latents.
    """

    keeps_bound: ClassVar[bool] = True

    def __init__(self, n_channels: int, *, noise: float = 0.0) -> None:  # noqa: ARG002
        super().__init__()
        self.noise = noise

    def posterior(self, z: Float[Tensor, "b t *s c"]) -> Plain:
        return Plain(z, self.noise)
