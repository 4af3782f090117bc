"""Vorticity that is carried by its own velocity and diffuses: decaying two-dimensional turbulence.

    dw/dt + mu (U . grad) w = nu lap w,    U = (-d psi/dy, d psi/dx),    lap psi = w

Viscosity nu and the strength mu of the advection differ from trajectory to trajectory and are recorded as its scalars.
The advection is written with products of velocities, (U . grad) w = (dxx - dyy)(U_x U_y) + dxy (U_y^2 - U_x^2), which
takes two transforms forth and two back.

References:
    | Two-dimensional turbulence above topography (Bretherton and Haidvogel, 1976) | https://doi.org/10.1017/S002211207600236X
    | Technique for economical computation (Basdevant, 1983) | https://doi.org/10.1016/0021-9991(83)90070-5
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autocast.errors import ConfigError
from autocast.simulators.etdrk4 import Etdrk4
from autocast.simulators.random_fields import gaussian_field
from autocast.simulators.simulator import Simulator
from autocast.simulators.spectral import SpectralGrid


class AdvectionDiffusion(Simulator):
    """The vorticity equation in a periodic rectangle, from Gaussian random vorticity."""

    channel_names = ("vorticity",)
    units = ("",)
    scalar_names = ("nu", "mu")
    continues_from_frames = True

    def __init__(  # noqa: PLR0913
        self,
        *,
        grid_shape: Sequence[int] = (64, 64),
        extent: Sequence[float] = (10.0, 10.0),
        n_frames: int = 81,
        time_step: float = 0.25,
        n_substeps: int = 10,
        burn_in: float = 0.0,
        nu: Sequence[float] = (1e-2, 5e-2),
        mu: Sequence[float] = (0.5, 2.0),
        cutoff: int = 4,
        precision: str = "float64",
    ) -> None:
        """
        Args:
            grid_shape, extent, n_frames, time_step, n_substeps, burn_in, precision: As for every simulator.
            nu: Bounds of the viscosity, which is log-uniform.
            mu: Bounds of the strength of the advection, which is uniform.
            cutoff: Highest mode of the initial vorticity, which has unit variance.

        Raises:
            ConfigError: The grid does not have two axes, or bounds are not two numbers in order.
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
        if len(grid_shape) != 2:
            raise ConfigError(f"grid_shape {list(grid_shape)}: vorticity is advected on two axes.")
        self.nu = _bounds("nu", nu)
        self.mu = _bounds("mu", mu)
        self.cutoff = cutoff

    def draw(self, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        nu = math.exp(rng.uniform(*np.log(self.nu)))
        mu = rng.uniform(*self.mu)
        return gaussian_field(rng, self.grid_shape, self.cutoff)[..., None], np.array([nu, mu])

    def stepper(self, scalars: Tensor, dtype: torch.dtype) -> Etdrk4:
        grid = SpectralGrid(self.grid_shape, self.extent, scalars.device)
        nu, mu = (scalars[:, i].reshape(-1, 1, 1, 1) for i in (0, 1))
        complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        to_velocity, to_advection = (grid.lay_out(factor.to(complex_dtype)) for factor in _operators(grid))
        strength = mu.to(dtype)

        def advection(v: Tensor) -> Tensor:
            u_x, u_y = grid.inverse(to_velocity * v).unbind(1)
            products = torch.stack([u_x * u_y, u_y.square() - u_x.square()], dim=1)
            return (to_advection * grid.transform(products)).sum(dim=1, keepdim=True) * strength

        return Etdrk4(grid, nu * grid.laplacian, advection, dt=self.dt, dtype=dtype)


def _operators(grid: SpectralGrid) -> tuple[Tensor, Tensor]:
    """Factors `(2, *K)` from vorticity to velocity, and from its products to minus the advection."""
    k_x, k_y = grid.wavenumbers
    laplacian = grid.laplacian
    inverse = torch.where(laplacian == 0, 0.0, 1 / laplacian.where(laplacian != 0, 1.0))
    to_velocity = torch.stack([-1j * k_y * inverse, 1j * k_x * inverse])
    to_advection = torch.stack([k_x.square() - k_y.square(), k_x * k_y])
    return to_velocity, to_advection


def _bounds(name: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise ConfigError(f"{name} {list(values)}: two positive bounds, the lower one first.")
    return float(values[0]), float(values[1])
