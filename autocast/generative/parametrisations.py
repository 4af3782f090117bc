"""Parametrisations: what a denoising network sees of noised data, what it says, and what that means.

Noised data are `y = x_1 + sigma eps`; the network sees `scale * y`, which has unit variance for data of standard
deviation `sigma_data`. So it does not matter to it whether a path preserves the variance (VP) or lets it explode (VE).
Levels of noise `sigma` have a shape that broadcasts against `y`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError


class Parametrisation(ABC):
    """A network's answer, of unit variance, as an estimate of data and noise.

    Args:
        sigma_data: standard deviation of the data.
    """

    def __init__(self, sigma_data: float = 1.0) -> None:
        if sigma_data <= 0:
            raise ConfigError(f"parametrisation.sigma_data={sigma_data}: a standard deviation, must be positive.")
        self.sigma_data = sigma_data

    def scale(self, sigma: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """What noised data are multiplied by."""
        return (sigma**2 + self.sigma_data**2).rsqrt()

    @abstractmethod
    def target(
        self, x_1: Float[Tensor, "b ..."], eps: Float[Tensor, "b ..."], sigma: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b ..."]:
        """What the network should answer."""

    @abstractmethod
    def estimates(
        self, y: Float[Tensor, "b ..."], answer: Float[Tensor, "b ..."], sigma: Float[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        """Data and noise, `y = x_hat + sigma eps_hat`, that an answer stands for."""


class Edm(Parametrisation):
    """The data where there is much noise, the noise where there is little: `x_hat = c_skip y + c_out answer`.

    The mean squared error of the answer is EDM's weighted loss. For `sigma_data` 1 the answer is, but for its sign, the
    `v = alpha eps - sigma x_1` of a variance-preserving path.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
        | Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022), for v
        | https://arxiv.org/abs/2202.00512
    """

    def target(
        self, x_1: Float[Tensor, "b ..."], eps: Float[Tensor, "b ..."], sigma: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b ..."]:
        return self.scale(sigma) * (sigma / self.sigma_data * x_1 - self.sigma_data * eps)

    def estimates(
        self, y: Float[Tensor, "b ..."], answer: Float[Tensor, "b ..."], sigma: Float[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        scale, seen = self.scale(sigma), self.scale(sigma) * y
        x_hat = self.sigma_data * scale * (self.sigma_data * seen + sigma * answer)
        eps_hat = scale * (sigma * seen - self.sigma_data * answer)
        return x_hat, eps_hat


class NoisePrediction(Parametrisation):
    """The noise itself; what is small in it is large in the data where there is much noise.

    References:
        | Denoising Diffusion Probabilistic Models (Ho et al., 2020)
        | https://arxiv.org/abs/2006.11239
    """

    def target(
        self,
        x_1: Float[Tensor, "b ..."],  # noqa: ARG002
        eps: Float[Tensor, "b ..."],
        sigma: Float[Tensor, "b ..."],  # noqa: ARG002
    ) -> Float[Tensor, "b ..."]:
        return eps

    def estimates(
        self, y: Float[Tensor, "b ..."], answer: Float[Tensor, "b ..."], sigma: Float[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        return y - sigma * answer, answer
