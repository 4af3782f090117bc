"""Isotropic power spectra, and the error and the coherence of a forecast's modes in bands of wavenumber.

A field's power is the squared modulus of its orthonormal Fourier transform, averaged over shells of constant `|k|`
(cycles per unit of length). Shells are as wide as the coarsest axis resolves and end at the smallest Nyquist wavenumber
of the axes, so that every shell holds modes of all directions; the mean and the corners beyond belong to none. Fields
are transformed as they are, without a taper: across an edge that is not periodic a jump shows as power at all k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from autocast.layout import space_axes
from autocast.metrics.catalogue import BANDS, FINE_FLOOR

ROUNDING = torch.finfo(torch.float32).eps ** 2
"""Power of the rounding of fields in single precision, relative to theirs."""


@dataclass(frozen=True)
class Grid:
    """The spatial axes of fields."""

    shape: tuple[int, ...]
    extent: tuple[float, ...]
    """Physical length of each axis."""

    @property
    def n_dims(self) -> int:
        return len(self.shape)

    @property
    def shell_width(self) -> float:
        return max(1 / length for length in self.extent)

    @property
    def n_shells(self) -> int:
        nyquist = min(n / (2 * length) for n, length in zip(self.shape, self.extent, strict=True))
        return int(nyquist / self.shell_width + 1e-6)

    @property
    def wavenumbers(self) -> list[float]:
        """Centres of the shells, in cycles per unit of length."""
        return [self.shell_width * shell for shell in range(1, self.n_shells + 1)]


def isotropic_power(x: Tensor, grid: Grid) -> Tensor:
    """Mean power of the modes in each shell: `(..., *S, C)` to `(..., n_shells, C)` in double precision.

    Smooth fields have shells so weak that a transform in single precision would show its own rounding there.
    """
    return _shell_means(_mode_power(x, grid), grid)


def isotropic_cross_power(x: Tensor, y: Tensor, grid: Grid) -> Tensor:
    """Mean of `F_x conj(F_y)` over the modes of each shell, `(..., n_shells, C)`; shapes broadcast.

    A shell of a real field holds the conjugate of each of its modes, so the mean is real.
    """
    return _shell_means((_modes(x, grid) * _modes(y, grid)).sum(-1), grid)


def fine_energy(x: Tensor, grid: Grid) -> Tensor:
    """Mean square over points of what a field has at waves shorter than four points, of the axis with the widest ones:
    in the upper half of wavenumbers. `(..., *S, C)` to `(..., C)`.
    """
    return _fine_energy(_mode_power(x, grid), grid)


def power_and_fine_energy(x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """`isotropic_power` and `fine_energy`, from one transform."""
    power = _mode_power(x, grid)
    return _shell_means(power, grid), _fine_energy(power, grid)


def fine_energy_ratio(fine: Any, truth_fine: Any, variance: Any) -> Any:
    """`fine_energy` of a forecast over that of the truth, arrays or tensors: below 1 it is blurred, above 1 rough.

    Both gain `FINE_FLOOR` times the `variance` of the truth, so that the ratio is about 1 where neither has fine
    structure to speak of.
    """
    floor = FINE_FLOOR * variance
    return (fine + floor) / (truth_fine + floor)


def _fine_energy(power: Tensor, grid: Grid) -> Tensor:
    axes = space_axes(grid.n_dims)
    power = power.flatten(axes[0], axes[-1])
    return torch.einsum("s,...sc->...c", _fine_weights(grid).to(power), power) / prod(grid.shape)


def _mode_power(x: Tensor, grid: Grid) -> Tensor:
    """`(..., *S', C)`"""
    return _modes(x, grid).square().sum(-1)


def _modes(x: Tensor, grid: Grid) -> Tensor:
    """Real and imaginary parts of the modes of a real transform: `(..., *S', C, 2)` in double precision, which Apple's
    GPUs do not have."""
    exact = x.float() if x.device.type == "mps" else x.double()
    return torch.view_as_real(torch.fft.rfftn(exact, dim=space_axes(grid.n_dims), norm="ortho"))


def _shell_means(values: Tensor, grid: Grid) -> Tensor:
    axes = space_axes(grid.n_dims)
    values = values.flatten(axes[0], axes[-1])
    return torch.einsum("ks,...sc->...kc", _shell_weights(grid).to(values), values)


@lru_cache(maxsize=8)
def _shell_weights(grid: Grid) -> Tensor:
    """`(n_shells, n_modes)` weights that average the modes of a real transform within each shell."""
    k, count = _wavenumbers_of_modes(grid)
    shell = (k / grid.shell_width).round()
    weights = (shell == torch.arange(1, grid.n_shells + 1, dtype=torch.float64).unsqueeze(1)) * count
    return weights / weights.sum(1, keepdim=True)


@lru_cache(maxsize=8)
def _fine_weights(grid: Grid) -> Tensor:
    """`(n_modes,)` how often a mode counts in the energy of the fine ones."""
    k, count = _wavenumbers_of_modes(grid)
    nyquist = min(n / (2 * length) for n, length in zip(grid.shape, grid.extent, strict=True))
    return (k > nyquist / 2) * count


def _wavenumbers_of_modes(grid: Grid) -> tuple[Tensor, Tensor]:
    """`(n_modes,)` of a real transform: `abs(k)`, and how many modes of the field each stands for."""
    spacing = [length / n for n, length in zip(grid.shape, grid.extent, strict=True)]
    last = torch.fft.rfftfreq(grid.shape[-1], d=spacing[-1], dtype=torch.float64)
    axes = [torch.fft.fftfreq(n, d=d, dtype=torch.float64) for n, d in zip(grid.shape[:-1], spacing[:-1], strict=True)]
    components = torch.meshgrid(*axes, last, indexing="ij")
    k = torch.stack([component.square() for component in components]).sum(0).sqrt()
    twice = torch.full_like(last, 2.0)
    twice[0] = 1.0
    if grid.shape[-1] % 2 == 0:
        twice[-1] = 1.0
    return k.flatten(), twice.expand_as(k).flatten()


def band_shells(n_shells: int) -> dict[str, slice]:
    """Shells of each band: the bands are equally wide in log k; those without a shell on a small grid are left out."""
    edges = [0] + [ceil((n_shells + 1) ** (i / 4) - 1e-9) - 1 for i in range(1, 4)] + [n_shells]
    for i in range(1, 4):
        edges[i] = min(max(edges[i], edges[i - 1] + 1), n_shells)
    return {
        band: slice(start, stop) for band, start, stop in zip(BANDS, edges[:-1], edges[1:], strict=True) if start < stop
    }


def spectral_rmse(truth_power: Tensor, forecast_power: Tensor) -> dict[str, Tensor]:
    """Root of the mean over a band's shells of `(1 - P_forecast / P_truth)²`, for each band.

    Args:
        truth_power: `(..., n_shells, C)`, as `isotropic_power` gives it.
        forecast_power: The same, or broadcasting with it.

    Returns:
        `(..., C)` by band. Shells where the truth is weaker than the rounding of its strongest shell, as simulators
        leave them when they dealias, hold no power to compare with and are left out; nan where a band has no other.
    """
    squared = (1 - forecast_power / truth_power).square()
    return {band: mean.sqrt() for band, mean in _band_means(squared, truth_power).items()}


def coherence(truth_power: Tensor, forecast_power: Tensor, cross_power: Tensor) -> dict[str, Tensor]:
    """Mean over a band's shells of `abs(C) / sqrt(P_forecast P_truth)`, for each band; 0 of a forecast without power.

    The modes of a shell are summed before the modulus, so that only fields with the same phases score 1.

    Args:
        truth_power: `(..., n_shells, C)`, as `isotropic_power` gives it.
        forecast_power: The same, or broadcasting with it.
        cross_power: C of the two, as `isotropic_cross_power` gives it.

    Returns:
        `(..., C)` by band; shells are left out as in `spectral_rmse`.
    """
    product = forecast_power * truth_power
    ratio = (cross_power.abs() / product.sqrt()).where(product != 0, 0.0)
    return _band_means(ratio, truth_power)


def _band_means(values: Tensor, truth_power: Tensor) -> dict[str, Tensor]:
    """Means over the shells of each band that have power in the truth: `(..., n_shells, C)` to `(..., C)` by band."""
    floor = ROUNDING * truth_power.amax(-2, keepdim=True) + torch.finfo(torch.float32).tiny
    values = values.where(truth_power > floor, torch.nan)
    return {band: values[..., shells, :].nanmean(-2) for band, shells in band_shells(truth_power.shape[-2]).items()}
