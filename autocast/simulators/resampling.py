"""Fields on a coarser grid of the same box, and back: by Fourier modes along periodic axes, by cells along others.

Both grids of a periodic axis start at the same point. The points of any other axis are the centres of its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

AxisMap = Callable[[Tensor, int], Tensor]
"""From `(..., n)` to `(..., m)`."""


def coarsen(fields: Tensor, grid_shape: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """`(..., *S, C)` to `(..., *S', C)`: without the modes that the coarser grid does not resolve, or cell averages.

    Args:
        fields: Real fields.
        grid_shape: S'; along axes that are not periodic it divides S.
        periodic: Whether each axis is.
    """
    return _along_axes(fields, grid_shape, periodic, _truncate, _average)


def refine(fields: Tensor, grid_shape: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """`(..., *S', C)` to `(..., *S, C)`: the trigonometric interpolant, or linear interpolation between cells.

    Args:
        fields: Real fields.
        grid_shape: S.
        periodic: Whether each axis is.
    """
    return _along_axes(fields, grid_shape, periodic, _pad, _interpolate)


def _along_axes(
    fields: Tensor, grid_shape: Sequence[int], periodic: Sequence[bool], by_modes: AxisMap, by_cells: AxisMap
) -> Tensor:
    n_dims = len(grid_shape)
    for i, (n, wraps) in enumerate(zip(grid_shape, periodic, strict=True)):
        axis = i - n_dims - 1
        if fields.shape[axis] != n:
            change = by_modes if wraps else by_cells
            fields = change(fields.movedim(axis, -1), n).movedim(-1, axis)
    return fields.contiguous()


def _truncate(x: Tensor, n: int) -> Tensor:
    """The mode at the coarser grid's Nyquist wavenumber, of which it sees the cosine only, goes too."""
    modes = torch.fft.rfft(x, norm="forward")[..., : n // 2 + 1].clone()
    if n % 2 == 0:
        modes[..., -1] = 0
    return torch.fft.irfft(modes, n=n, norm="forward")


def _pad(x: Tensor, n: int) -> Tensor:
    """A cosine at the Nyquist wavenumber is two modes of the finer grid, each with half of it."""
    modes = torch.fft.rfft(x, norm="forward")
    if x.shape[-1] % 2 == 0:
        modes[..., -1] /= 2
    return torch.fft.irfft(modes, n=n, norm="forward")


def _average(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).mean(-1)


def _interpolate(x: Tensor, n: int) -> Tensor:
    """Constant beyond the outermost centres."""
    return nn.functional.interpolate(x.reshape(-1, 1, x.shape[-1]), n, mode="linear").reshape(*x.shape[:-1], n)
