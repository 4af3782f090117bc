"""Waves and spirals of the lambda-omega reaction-diffusion equations.

    du/dt = D lap u + (1 - r^2) u + beta r^2 v
    dv/dt = D lap v - beta r^2 u + (1 - r^2) v,    r^2 = u^2 + v^2

Every point wants to circle at r = 1 with angular velocity beta, and diffusion couples it to its neighbours. With the
textbook's beta = 1 and little diffusion points hardly feel each other, and a linear map of each point alone forecasts
well; with beta = 3 and D = 1 plane waves are unstable and it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autocast.simulators.etdrk4 import Etdrk4
from autocast.simulators.random_fields import gaussian_field
from autocast.simulators.simulator import Simulator
from autocast.simulators.spectral import SpectralGrid


class ReactionDiffusion(Simulator):
    """Lambda-omega in a periodic box, from Gaussian random fields; see the module for the equations."""

    channel_names = ("u", "v")
    units = ("", "")
    continues_from_frames = True

    def __init__(  # noqa: PLR0913
        self,
        *,
        grid_shape: Sequence[int] = (32, 32),
        extent: Sequence[float] = (40.0, 40.0),
        n_frames: int = 50,
        time_step: float = 0.3,
        n_substeps: int = 10,
        burn_in: float = 20.0,
        beta: float = 3.0,
        diffusion: float = 1.0,
        cutoff: int = 5,
        amplitude: float = 0.5,
        precision: str = "float64",
    ) -> None:
        """
        Args:
            grid_shape, extent, n_frames, time_step, n_substeps, burn_in, precision: As for every simulator.
            beta: Angular velocity of the reaction at r = 1.
            diffusion: D, of both channels.
            cutoff: Highest mode of the initial fields.
            amplitude: Their standard deviation. Far above the limit cycle's radius of 1 the reaction is too fast for
                the default steps: with 1.0 one trajectory in a hundred became infinite.
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
        self.beta = beta
        self.diffusion = diffusion
        self.cutoff = cutoff
        self.amplitude = amplitude

    def draw(self, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        fields = [self.amplitude * gaussian_field(rng, self.grid_shape, self.cutoff) for _ in self.channel_names]
        return np.stack(fields, axis=-1), np.empty(0)

    def stepper(self, scalars: Tensor, dtype: torch.dtype) -> Etdrk4:
        grid = SpectralGrid(self.grid_shape, self.extent, scalars.device)
        linear = (self.diffusion * grid.laplacian).expand(2, *grid.laplacian.shape)

        def reaction(amplitudes: Tensor) -> Tensor:
            u, v = grid.inverse(amplitudes).unbind(dim=1)
            r_squared = u.square().addcmul_(v, v)
            growth, rotation = 1 - r_squared, self.beta * r_squared
            return grid.transform(torch.stack([growth * u + rotation * v, growth * v - rotation * u], dim=1))

        return Etdrk4(grid, linear, reaction, dt=self.dt, dtype=dtype)
