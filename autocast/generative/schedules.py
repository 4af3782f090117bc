"""Noise schedules: how the noise on the data falls from t = 0 (noise) to t = 1 (data).

Every Gaussian path `alpha(t) x_1 + s(t) eps` is, up to a factor, the straight path of flow matching: divided by
`alpha + s` it is `u x_1 + (1 - u) eps` with `u = 1 / (1 + sigma)`, `sigma = s / alpha`. There the flow to a single
point is a straight line of constant speed, and nothing is infinite. So all samplers integrate over the path's time u,
and a schedule has one thing to say: sigma, the ratio of noise to signal, over t. Evenly spaced t are where a sampler
looks, and what a diffusion is trained at unless a prior says otherwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError


class Schedule(ABC):
    """The ratio of noise to signal over [0, 1]: finite, positive and falling."""

    @abstractmethod
    def sigma(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Standard deviation of the noise on data of scale 1."""

    def path_time(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The time on the straight path with the same ratio of noise to signal."""
        return 1 / (1 + self.sigma(t))

    def path_times(self, n_steps: int) -> list[float]:
        """The `n_steps + 1` ends of a sampler's steps, from the most to the least noise."""
        return self.path_time(torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)).tolist()


class Edm(Schedule):
    """`sigma^(1 / rho)` falls linearly: most steps at little noise.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        _check_range(sigma_min, sigma_max)
        self.ends = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        self.rho = rho

    def sigma(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        first, last = self.ends
        return (first + t * (last - first)) ** self.rho


class VariancePreserving(Schedule):
    """`alpha^2 = exp(-B)`, `B` the integral of a rate that grows linearly with the noise: DDPM in continuous time.

    Args:
        beta_min: the rate at the data.
        beta_max: the rate at the noise.
        end: how near to the data t = 1 is, as a fraction of the way.

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2020)
        | https://arxiv.org/abs/2011.13456
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, end: float = 1e-3) -> None:
        if not (0 < beta_min <= beta_max and 0 < end < 1):
            raise ConfigError(
                f"schedule.beta_min={beta_min}, beta_max={beta_max}, end={end}: "
                "rates must be positive and grow, end must be between 0 and 1."
            )
        self.beta_min = beta_min
        self.beta_max = beta_max
        self.end = end

    def sigma(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        left = 1 - (1 - self.end) * t
        integral = self.beta_min * left + (self.beta_max - self.beta_min) * left**2 / 2
        return integral.expm1().sqrt()


class Cosine(Schedule):
    """`alpha` and `s` are cosine and sine of an angle that falls linearly.

    References:
        | Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal, 2021)
        | https://arxiv.org/abs/2102.09672
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 100.0) -> None:
        _check_range(sigma_min, sigma_max)
        self.ends = math.atan(sigma_max), math.atan(sigma_min)

    def sigma(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        first, last = self.ends
        return (first + t * (last - first)).tan()


class LogLogit(Schedule):
    """`ln sigma = mean + spread * logit(u)`, u falling linearly between the values that belong to the ends.

    With mean 0 and spread 1 these are even steps on the straight path, as flow matching takes them; a larger spread has
    more of them near the noise and near the data.
    """

    def __init__(self, sigma_min: float = 1e-3, sigma_max: float = 1e3, mean: float = 0.0, spread: float = 1.0) -> None:
        _check_range(sigma_min, sigma_max)
        if spread <= 0:
            raise ConfigError(f"schedule.spread={spread}: must be positive.")
        self.mean = mean
        self.spread = spread
        self.ends = self._position(sigma_max), self._position(sigma_min)

    def sigma(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        first, last = self.ends
        return (self.mean + self.spread * (first + t * (last - first)).logit()).exp()

    def _position(self, sigma: float) -> float:
        return 1 / (1 + math.exp((self.mean - math.log(sigma)) / self.spread))


def _check_range(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ConfigError(
            f"schedule.sigma_min={sigma_min}, sigma_max={sigma_max}: must be positive, finite and in this order."
        )
