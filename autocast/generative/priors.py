"""Training-time priors: which times along the path a flow is trained at."""

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
