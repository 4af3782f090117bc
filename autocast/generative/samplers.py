"""Samplers: integrate `dx/dt = v(x, t)` from noise at t = 0 to data at t = 1.

`Sampler.__call__` is the loop, `step` the mathematics of one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError

Velocity = Callable[[Tensor, Tensor], Tensor]
"""`(x_t (B, ...), t (B,)) -> dx/dt (B, ...)`"""


class Sampler(ABC):
    """Integrates over [0, 1] in `n_steps` equal steps."""

    def __init__(self, n_steps: int) -> None:
        if n_steps < 1:
            raise ConfigError(f"sampler.n_steps={n_steps}: a sampler needs at least one step. Set n_steps=1 or more.")
        self.n_steps = n_steps

    def __call__(self, velocity: Velocity, x_0: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """From noise `x_0` to data."""
        x_t, dt = x_0, 1 / self.n_steps
        past: list[Tensor] = []
        for i in range(self.n_steps):
            t = x_0.new_full((x_0.shape[0],), i * dt)
            v_t = velocity(x_t, t)
            x_t = self.step(velocity, x_t, t, dt, v_t, past)
            past = [v_t, *past[:1]]
        return x_t

    @abstractmethod
    def step(self, velocity: Velocity, x_t: Tensor, t: Tensor, dt: float, v_t: Tensor, past: list[Tensor]) -> Tensor:
        """`x` at `t + dt`; `v_t` is the velocity at `t`, `past` those of up to two steps before, the newest first."""


class Euler(Sampler):
    """Order 1, one evaluation a step: `x + dt v`."""

    def step(self, velocity: Velocity, x_t: Tensor, t: Tensor, dt: float, v_t: Tensor, past: list[Tensor]) -> Tensor:  # noqa: ARG002
        return x_t + dt * v_t


class Heun(Sampler):
    """Order 2, two evaluations a step: the mean of the velocities at both ends of an Euler step."""

    def step(self, velocity: Velocity, x_t: Tensor, t: Tensor, dt: float, v_t: Tensor, past: list[Tensor]) -> Tensor:  # noqa: ARG002
        return _heun(velocity, x_t, t, dt, v_t)


class AdamsBashforth3(Sampler):
    """Order 3, one evaluation a step from the third on: `x + dt (23 v_n - 16 v_(n-1) + 5 v_(n-2)) / 12`.

    The first two steps are Heun's, whose error over two steps is of order 3 as well.
    """

    def step(self, velocity: Velocity, x_t: Tensor, t: Tensor, dt: float, v_t: Tensor, past: list[Tensor]) -> Tensor:
        if len(past) < 2:
            return _heun(velocity, x_t, t, dt, v_t)
        return x_t + dt / 12 * (23 * v_t - 16 * past[0] + 5 * past[1])


def _heun(velocity: Velocity, x_t: Tensor, t: Tensor, dt: float, v_t: Tensor) -> Tensor:
    return x_t + dt / 2 * (v_t + velocity(x_t + dt * v_t, t + dt))
