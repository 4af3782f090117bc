"""Training-time priors: which times t along the straight path, t = 1 / (1 + noise / signal), are trained at."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from autocast.generative.noise import Noise


class TimePrior(ABC):
    """A distribution over the times [0, 1]."""

    @abstractmethod
    def __call__(self, noise: Noise, like: Tensor) -> Float[Tensor, " b"]:
        """One time per row of `noise`."""


class Uniform(TimePrior):
    """All times alike."""

    def __call__(self, noise: Noise, like: Tensor) -> Float[Tensor, " b"]:
        return noise.uniform(like=like)


class LogitNormal(TimePrior):
    """The logistic function of a normal number: mostly the middle of the path.

    References:
        | Scaling Rectified Flow Transformers for High-Resolution Image Synthesis (Esser et al., 2024)
        | https://arxiv.org/abs/2403.03206
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, noise: Noise, like: Tensor) -> Float[Tensor, " b"]:
        return (self.mean + self.std * noise.normal(like=like)).sigmoid()


class LogNormal(TimePrior):
    """The logarithm of the ratio of noise to signal, `(1 - t) / t`, is normal.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        self.mean = mean
        self.std = std

    def __call__(self, noise: Noise, like: Tensor) -> Float[Tensor, " b"]:
        return (-self.mean - self.std * noise.normal(like=like)).sigmoid()


class LogLogit(TimePrior):
    """The logarithm of the ratio of noise to signal is `mean + spread * logit(u)`, u uniform.

    With mean 0 and spread 1 all times are alike; a larger spread has heavier tails on both sides than a log-normal.
    """

    def __init__(self, mean: float = 0.0, spread: float = 1.0) -> None:
        self.mean = mean
        self.spread = spread

    def __call__(self, noise: Noise, like: Tensor) -> Float[Tensor, " b"]:
        return (-self.mean - self.spread * noise.uniform(like=like).logit()).sigmoid()
