r"""Fronts that are unstable at long waves and damped at short ones: chaos in one dimension.

    du/dt + u du/dx + d^2u/dx^2 + d^4u/dx^4 = 0

Waves of wavenumber k < 1 grow with the rate k^2 - k^4, and the nonlinear term carries their energy to shorter waves
that are damped. The mean of u never changes. On a domain of length 64, two solutions that differ a little part by a
factor e in about 12 units of time.

References:
    | Lie Point Symmetry Data Augmentation for Neural PDE Solvers (Brandstetter et al., 2022), for the random choices
    | https://arxiv.org/abs/2202.07643
    | PDE-Refiner: Achieving Accurate Long Rollouts with Neural PDE Solvers (Lippe et al., 2023), for domain and times
    | https://arxiv.org/abs/2308.05732
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autocast.errors import ConfigError
from autocast.simulators.etdrk4 import Etdrk4
from autocast.simulators.simulator import Simulator
from autocast.simulators.spectral import SpectralGrid

DOMAIN_LENGTH, TIME_STEP = "domain_length", "time_step"


class KuramotoSivashinsky(Simulator):
    """The equation in a periodic interval, from a few random sines.

    Length and time step may differ from trajectory to trajectory; each that does is a scalar. The grid keeps its points
    and is as much wider as the domain, and all times of a trajectory, burn-in and solver's steps among them, scale with
    its time step. `extent` and `time_step` are then what scalars vary around, and what coordinates are written for.
    """

    channel_names = ("u",)
    units = ("",)
    continues_from_frames = True

    def __init__(  # noqa: PLR0913
        self,
        *,
        grid_shape: Sequence[int] = (256,),
        extent: Sequence[float] = (64.0,),
        n_frames: int = 201,
        time_step: float = 0.5,
        n_substeps: int = 5,
        burn_in: float = 100.0,
        extent_variation: float = 0.0,
        time_step_variation: float = 0.0,
        n_waves: int = 10,
        wave_numbers: Sequence[int] = (1, 2),
        amplitude: float = 0.5,
        precision: str = "float64",
    ) -> None:
        """
        Args:
            grid_shape, extent, n_frames, time_step, n_substeps, burn_in, precision: As for every simulator.
            extent_variation: v, for a length that is uniform between 1 - v and 1 + v times `extent`.
            time_step_variation: The same for `time_step`.
            n_waves: Sines in the initial field, of uniformly random phase.
            wave_numbers: Whole waves in the domain that a sine may have, all alike.
            amplitude: That of a sine is uniform between this and its negative.

        Raises:
            ConfigError: The grid does not have one axis, or a variation or the sines are impossible.
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
        if len(grid_shape) != 1:
            raise ConfigError(f"grid_shape {list(grid_shape)}: the equation has one axis.")
        variations = {"extent_variation": extent_variation, "time_step_variation": time_step_variation}
        for name, variation in variations.items():
            if not 0 <= variation < 1:
                raise ConfigError(f"{name} {variation}: at least 0 and less than 1.")
        if n_waves < 1 or not wave_numbers or min(wave_numbers) < 1:
            raise ConfigError(f"n_waves {n_waves}, wave_numbers {list(wave_numbers)}: at least 1.")
        self.extent_variation = extent_variation
        self.time_step_variation = time_step_variation
        self.n_waves = n_waves
        self.wave_numbers = tuple(wave_numbers)
        self.amplitude = amplitude
        self._typical = {DOMAIN_LENGTH: self.extent[0], TIME_STEP: self.time_step}
        varies = {DOMAIN_LENGTH: extent_variation > 0, TIME_STEP: time_step_variation > 0}
        self.scalar_names = tuple(name for name, varying in varies.items() if varying)

    def draw(self, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        factors = {
            TIME_STEP: 1 + self.time_step_variation * rng.uniform(-1, 1),
            DOMAIN_LENGTH: 1 + self.extent_variation * rng.uniform(-1, 1),
        }
        amplitude = rng.uniform(-self.amplitude, self.amplitude, self.n_waves)
        phase = rng.uniform(0, 2 * np.pi, self.n_waves)
        wave_number = rng.choice(self.wave_numbers, self.n_waves)
        x = np.arange(self.grid_shape[0])[:, None] / self.grid_shape[0]
        field = (amplitude * np.sin(2 * np.pi * wave_number * x + phase)).sum(axis=1, keepdims=True)
        return field, np.array([self._typical[name] * factors[name] for name in self.scalar_names])

    def stepper(self, scalars: Tensor, dtype: torch.dtype) -> Etdrk4:
        """In units of time of which `time_step` passes between two frames of every trajectory."""
        grid = SpectralGrid(self.grid_shape, self.extent, scalars.device)
        k = grid.wavenumbers[0] / self._relative(DOMAIN_LENGTH, scalars)
        pace = self._relative(TIME_STEP, scalars)
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        derivative = (-0.5j * pace * k).to(complex_dtype)

        def advection(v: Tensor) -> Tensor:
            return grid.transform(grid.inverse(v).square()).mul_(derivative)

        return Etdrk4(grid, pace * (k.square() - k.square().square()), advection, dt=self.dt, dtype=dtype)

    def _relative(self, name: str, scalars: Tensor) -> Tensor:
        """A scalar over its typical value, `(B, 1, 1)`; 1 if it does not vary."""
        if name not in self.scalar_names:
            return scalars.new_ones(1, 1, 1)
        return scalars[:, self.scalar_names.index(name)].reshape(-1, 1, 1) / self._typical[name]
