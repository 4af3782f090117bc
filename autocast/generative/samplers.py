"""Samplers: integrate `dx/dt = v(x, t)` along the straight path, from noise at t = 0 to data at t = 1.

`Sampler.solve` is the loop, `step` the mathematics of one step; all that is random is drawn before, by `start`. On the
straight path `v = x_hat - eps_hat`, with `x_hat` and `eps_hat` the estimates of data and noise, so that all of them are
exact for a single point.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.generative.noise import Noise

Velocity = Callable[[Tensor, float], Tensor]
"""`(x_t (B, ...), t) -> dx/dt (B, ...)`"""
Times = Callable[[int], list[float]]
"""The `n + 1` ends of n steps, growing to 1 or almost."""


def even_times(n_steps: int) -> list[float]:
    """Equal steps over the whole path."""
    return [*(i * (1 / n_steps) for i in range(n_steps)), 1.0]


@dataclass(frozen=True)
class Stage:
    """Where an integration stands, and the step that it is about to take."""

    x: Float[Tensor, "b ..."]
    start: float
    end: float
    limit: float
    """Until when the velocity can be asked: the end, or a little before if that is 1."""
    velocities: list[tuple[float, Tensor]]
    """At the start and at the starts of up to two steps before, with their times, the newest first."""
    drawn: Float[Tensor, "b ..."] | None = None
    """Normal numbers like `x`, for samplers that draw in every step."""

    @property
    def dt(self) -> float:
        return self.end - self.start

    @property
    def v(self) -> Tensor:
        return self.velocities[0][1]


class Start(NamedTuple):
    """All that a solve depends on beside the velocity."""

    x_0: Tensor
    """`(B, ...)`, noise"""
    ends: list[float]
    """Of the steps."""
    drawn: list[Tensor]
    """Normal numbers like `x_0` for every step; nothing for samplers that do not draw."""


class Sampler(ABC):
    """Integrates in `n_steps` steps."""

    draws: bool = False
    """Whether steps use normal numbers of their own."""

    def __init__(self, n_steps: int) -> None:
        if n_steps < 1:
            raise ConfigError(f"sampler.n_steps={n_steps}: a sampler needs at least one step. Set n_steps=1 or more.")
        self.n_steps = n_steps

    def __call__(
        self,
        velocity: Velocity,
        x_0: Float[Tensor, "b ..."],
        *,
        times: Times = even_times,
        noise: Noise | None = None,
    ) -> Float[Tensor, "b ..."]:
        """From noise `x_0` to data.

        Args:
            velocity: asked at the times of the steps and, by some samplers, twice a step.
            x_0: `x` at the first of the times.
            times: where steps begin and end. The last step goes on to 1, where there is no noise left, even if the
                velocity can only be asked until a little before.
            noise: for samplers that draw.
        """
        return self.solve(velocity, self.start(x_0, times=times, noise=noise))

    def start(self, x_0: Float[Tensor, "b ..."], *, times: Times = even_times, noise: Noise | None = None) -> Start:
        """What `solve` begins with; the arguments are those of a call."""
        if not self.draws:
            return Start(x_0, times(self.n_steps), [])
        if noise is None:
            raise ValueError("this sampler draws in every step: call it with noise=")
        drawn = [noise.normal(*x_0.shape[1:], like=x_0) for _ in range(self.n_steps)]
        return Start(x_0, times(self.n_steps), drawn)

    def solve(self, velocity: Velocity, start: Start) -> Float[Tensor, "b ..."]:
        """From noise to data. It draws nothing and looks at nothing else, so it can be compiled."""
        x, ends, drawn = start
        velocities: list[tuple[float, Tensor]] = []
        for i, (begin, limit) in enumerate(itertools.pairwise(ends)):
            velocities = [(begin, velocity(x, begin)), *velocities[:2]]
            end = 1.0 if limit == ends[-1] else limit
            x = self.step(velocity, Stage(x, begin, end, limit, velocities, drawn[i] if drawn else None))
        return x

    @abstractmethod
    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:
        """`x` at the end of the step."""


class Euler(Sampler):
    """Order 1, one evaluation a step: `x + dt v`."""

    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:  # noqa: ARG002
        return now.x + now.dt * now.v


class Heun(Sampler):
    """Order 2, two evaluations a step: the mean of the velocities at both ends of an Euler step."""

    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:
        return _heun(velocity, now)


class DDIM(Sampler):
    """Order 1, one evaluation a step: the estimated data with less of the estimated noise, `s x_hat + (1 - s) eps_hat`.

    With `eta` 0 that is Euler's step on the straight path, whatever the schedule. With `eta` 1 as much of the noise is
    drawn afresh as in ancestral sampling (DDPM), which forgets errors of earlier steps.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2020)
        | https://arxiv.org/abs/2010.02502
    """

    def __init__(self, n_steps: int, eta: float = 0.0) -> None:
        super().__init__(n_steps)
        if not 0 <= eta <= 1:
            raise ConfigError(f"sampler.eta={eta}: must be between 0 (no fresh noise) and 1 (ancestral sampling).")
        self.eta = eta
        self.draws = eta > 0

    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:  # noqa: ARG002
        t, s = now.start, now.end
        x_hat, eps_hat = now.x + (1 - t) * now.v, now.x - t * now.v
        if now.drawn is not None:
            sigma_ratio = (1 - s) * t / (s * (1 - t))
            fresh = self.eta * math.sqrt(1 - sigma_ratio**2)
            eps_hat = math.sqrt(1 - fresh**2) * eps_hat + fresh * now.drawn
        return s * x_hat + (1 - s) * eps_hat


class AdamsBashforth2(Sampler):
    """Order 2, one evaluation a step from the second on: integrates the line through the last two velocities.

    The first step is Heun's. For equal steps it is `x + dt (3 v_n - v_(n-1)) / 2`.

    References:
        | Fast Sampling of Diffusion Models with Exponential Integrator (Zhang and Chen, 2022)
        | https://arxiv.org/abs/2204.13902
    """

    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:
        if len(now.velocities) < 2:
            return _heun(velocity, now)
        (t_0, v_0), (t_1, v_1) = now.velocities[:2]
        slope = (v_0 - v_1) / (t_0 - t_1)
        return now.x + now.dt * v_0 + now.dt**2 / 2 * slope


class AdamsBashforth3(Sampler):
    """Order 3, one evaluation a step from the third on: integrates the parabola through the last three velocities.

    The first two steps are Heun's, whose error over two steps is of order 3 as well. For equal steps it is
    `x + dt (23 v_n - 16 v_(n-1) + 5 v_(n-2)) / 12`.

    References:
        | Fast Sampling of Diffusion Models with Exponential Integrator (Zhang and Chen, 2022)
        | https://arxiv.org/abs/2204.13902
    """

    def step(self, velocity: Velocity, now: Stage) -> Float[Tensor, "b ..."]:
        if len(now.velocities) < 3:
            return _heun(velocity, now)
        (t_0, v_0), (t_1, v_1), (t_2, v_2) = now.velocities
        slope, slope_before = (v_0 - v_1) / (t_0 - t_1), (v_1 - v_2) / (t_1 - t_2)
        bend = (slope - slope_before) / (t_0 - t_2)
        dt = now.dt
        return now.x + dt * v_0 + dt**2 / 2 * slope + (dt**3 / 3 + dt**2 / 2 * (t_0 - t_1)) * bend


def _heun(velocity: Velocity, now: Stage) -> Tensor:
    dt = now.limit - now.start
    v_limit = velocity(now.x + dt * now.v, now.limit)
    x = now.x + dt / 2 * (now.v + v_limit)
    return x if now.limit == now.end else x + (now.end - now.limit) * v_limit
