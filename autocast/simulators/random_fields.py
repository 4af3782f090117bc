"""Random smooth periodic fields that do not depend on the grid they are evaluated on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def gaussian_field(rng: np.random.Generator, grid_shape: Sequence[int], cutoff: int) -> np.ndarray:
    """A Gaussian random field `(*S)` of zero mean and unit variance with a flat spectrum up to mode `cutoff`.

    The constant mode is left out. The same draws give the same field on a finer grid.
    """
    modes = np.arange(-cutoff, cutoff + 1)
    axes = [np.exp(2j * np.pi * np.outer(np.arange(n) / n, modes)) for n in grid_shape]
    shape = (len(modes),) * len(grid_shape)
    squares = np.sum([np.square(m) for m in np.meshgrid(*[modes] * len(grid_shape), indexing="ij")], axis=0)
    kept = (squares > 0) & (squares <= cutoff**2)
    amplitudes = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * kept
    return _expand(amplitudes, axes).real / math.sqrt(kept.sum())


def trigonometric_interpolant(values: np.ndarray, grid_shape: Sequence[int]) -> np.ndarray:
    """The trigonometric polynomial through `values` on an even periodic grid, on the grid `grid_shape`.

    Both grids start at the same point. The highest mode of an even number of points is a cosine.
    """
    axes = [_dirichlet(n_from, n_to) for n_from, n_to in zip(values.shape, grid_shape, strict=True)]
    return _expand(values, axes)


def clustered_gaussians(
    rng: np.random.Generator,
    grid_shape: Sequence[int],
    extent: Sequence[float],
    *,
    count: tuple[int, int],
    amplitude: tuple[float, float],
    width: tuple[float, float],
) -> np.ndarray:
    """A sum `(*S)` of periodic Gaussians a exp(-s r^2) at uniformly random places.

    The number of Gaussians, a and s are uniform between the bounds of `count` (both included), `amplitude` and `width`.
    Of each Gaussian the images in the neighbouring periods are added.
    """
    n = rng.integers(count[0], count[1], endpoint=True)
    a, s = rng.uniform(*amplitude, n), rng.uniform(*width, n)
    field = a
    for axis, (points, length) in enumerate(zip(grid_shape, extent, strict=True)):
        x = length * np.arange(points) / points
        centre = rng.uniform(0, length, n)
        distances = x[:, None, None] - centre[:, None] - length * np.array([-1, 0, 1])
        profile = np.exp(-s[:, None] * np.square(distances)).sum(axis=-1)
        field = np.einsum("...m,xm->...xm", field, profile) if axis < len(grid_shape) - 1 else field @ profile.T
    return field


def _expand(values: np.ndarray, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Apply the matrix `axes[i]` along axis i of `values`."""
    letters = "abc"[: values.ndim]
    matrices = ",".join(letter.upper() + letter for letter in letters)
    return np.einsum(f"{letters},{matrices}->{letters.upper()}", values, *axes, optimize=True)


def _dirichlet(n_from: int, n_to: int) -> np.ndarray:
    """The matrix `(n_to, n_from)` that interpolates by trigonometric polynomials."""
    angle = 2 * np.pi * np.subtract.outer(np.arange(n_to) / n_to, np.arange(n_from) / n_from)
    highest = (n_from - 1) // 2
    kernel = 1 + 2 * np.sum([np.cos(m * angle) for m in range(1, highest + 1)], axis=0)
    return (kernel + np.cos(n_from // 2 * angle) if n_from % 2 == 0 else kernel) / n_from


def refine(grid_shape: Sequence[int], factor: int) -> tuple[int, ...]:
    return tuple(factor * n for n in grid_shape)


def coarsen(field: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th point of each axis."""
    return field[tuple(itertools.repeat(slice(None, None, factor), field.ndim))]
