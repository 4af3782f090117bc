"""Patterns of the Gray-Scott reaction-diffusion equations.

    dA/dt = d_A lap A - A B^2 + F (1 - A)
    dB/dt = d_B lap B + A B^2 - (F + k) B

The constants are recorded as the scalars F and k of each trajectory. A trajectory's pair (F, k) and its kind of initial
fields cycle with its seed, pairs first, so that seeds that follow each other make a balanced design. Dealiasing is that
of the program which made The Well's data.

References:
    | The Well, gray_scott_reaction_diffusion (Ohana et al., 2024) | https://arxiv.org/abs/2412.00568
    | Its generating program | https://github.com/danfortunato/spectral-gray-scott
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autocast.errors import ConfigError
from autocast.simulators.etdrk4 import Etdrk4
from autocast.simulators.random_fields import clustered_gaussians, coarsen, refine, trigonometric_interpolant
from autocast.simulators.simulator import Simulator
from autocast.simulators.spectral import SpectralGrid, corners

KINDS = ("gaussians", "fourier")
DIFFUSION = (2e-5, 1e-5)
"""Of A and of B."""
AMPLITUDE = (1.0, 3.0)
WIDTH = (150.0, 300.0)
"""Bounds of a and s in the Gaussians a exp(-s r^2)."""
REFINEMENT = 4
"""Extremes of an initial field are looked up on a grid so many times finer: between points it is up to 2 % higher."""


class GrayScott(Simulator):
    """Gray-Scott in a periodic square; see the module for the equations and the design."""

    channel_names = ("A", "B")
    units = ("", "")
    scalar_names = ("F", "k")
    continues_from_frames = True

    def __init__(  # noqa: PLR0913
        self,
        *,
        grid_shape: Sequence[int],
        extent: Sequence[float],
        n_frames: int,
        time_step: float,
        n_substeps: int,
        feed_kill: Sequence[Sequence[float]],
        initial_fields: Sequence[str] = KINDS,
        n_gaussians: Sequence[int] = (10, 100),
        n_fourier: int = 32,
        burn_in: float = 0.0,
        precision: str = "float64",
    ) -> None:
        """
        Args:
            grid_shape, extent, n_frames, time_step, n_substeps, burn_in, precision: As for every simulator.
            feed_kill: The pairs (F, k).
            initial_fields: Kinds of initial fields: "gaussians" (clusters of Gaussians, scaled to [0, 1]) and
                "fourier" (smooth noise around a steady state).
            n_gaussians: Bounds of the number of Gaussians, both included.
            n_fourier: Points of each axis between which the noise is interpolated.
        """
        super().__init__(
            grid_shape=grid_shape,
            extent=extent,
            n_frames=n_frames,
            time_step=time_step,
            n_substeps=n_substeps,
            burn_in=burn_in,
            precision=precision,
        )
        unknown = sorted(set(initial_fields) - set(KINDS))
        if unknown or not initial_fields:
            raise ConfigError(f"initial_fields {list(initial_fields)}: one or more of {', '.join(KINDS)}.")
        if not feed_kill or any(len(pair) != 2 for pair in feed_kill):
            raise ConfigError(f"feed_kill {list(feed_kill)}: one or more pairs [F, k].")
        self.feed_kill = [(float(feed), float(kill)) for feed, kill in feed_kill]
        self.initial_fields = tuple(initial_fields)
        self.n_gaussians = (n_gaussians[0], n_gaussians[-1])
        self.n_fourier = n_fourier

    def case(self, seed: int) -> tuple[tuple[float, float], str]:
        """The pair (F, k) and the kind of initial fields of a seed."""
        cycle, i = divmod(seed, len(self.feed_kill))
        return self.feed_kill[i], self.initial_fields[cycle % len(self.initial_fields)]

    def draw(self, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:
        pair, kind = self.case(seed)
        fields = self._gaussians(rng) if kind == "gaussians" else self._fourier(rng, *pair)
        return np.stack(fields, axis=-1), np.array(pair)

    def stepper(self, scalars: Tensor, dtype: torch.dtype) -> Etdrk4:
        grid = SpectralGrid(self.grid_shape, self.extent, scalars.device, corners)
        feed, kill = (scalars[:, i].reshape(-1, *[1] * grid.n_dims) for i in (0, 1))
        linear = torch.stack([DIFFUSION[0] * grid.laplacian - feed, DIFFUSION[1] * grid.laplacian - feed - kill], dim=1)

        def reaction(v: Tensor) -> Tensor:
            """A B^2 of the deviations a = A - 1 and b = B from the trivial steady state, which both channels share."""
            a, b = grid.inverse(v).unbind(1)
            b_squared = b.square()
            return grid.transform(torch.addcmul(b_squared, a, b_squared)[:, None])

        return Etdrk4(grid, linear, reaction, dt=self.dt, dtype=dtype, weights=(-1.0, 1.0), equilibrium=(1.0, 0.0))

    def _gaussians(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        fine = refine(self.grid_shape, REFINEMENT)
        a, b = (
            clustered_gaussians(rng, fine, self.extent, count=self.n_gaussians, amplitude=AMPLITUDE, width=WIDTH)
            for _ in range(2)
        )
        return coarsen(_to_unit_interval(-a), REFINEMENT), coarsen(_to_unit_interval(b), REFINEMENT)

    def _fourier(self, rng: np.random.Generator, feed: float, kill: float) -> tuple[np.ndarray, np.ndarray]:
        """Noise of up to a quarter around A = 1, B = 0, or smaller around the third state."""
        points = (self.n_fourier,) * len(self.grid_shape)
        a, b = (trigonometric_interpolant(rng.uniform(-0.25, 0.25, points), self.grid_shape) for _ in range(2))
        state = third_steady_state(feed, kill)
        if state is None:
            return 1 + a, b
        mean_a, mean_b = state
        return mean_a + 0.9 * min(mean_a, 1 - mean_a) * a, mean_b + 0.9 * min(mean_b, 1 - mean_b) * b


def third_steady_state(feed: float, kill: float) -> tuple[float, float] | None:
    """The steady state (A, B) with the larger B, where there is one."""
    if kill >= (math.sqrt(feed) - 2 * feed) / 2:
        return None
    ratio = math.sqrt(feed) / (feed + kill)
    root = math.sqrt(ratio**2 - 4)
    return (ratio - root) / (2 * ratio), math.sqrt(feed) * (ratio + root) / 2


def _to_unit_interval(x: np.ndarray) -> np.ndarray:
    return (x - x.min()) / (x.max() - x.min())
