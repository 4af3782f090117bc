"""Spectra of small overlapping windows of fields: how much structure of which size there is, and where."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 16
"""Points of a window along every axis, or the whole axis where it has fewer; neighbours overlap by half."""


def band_powers(x: Float[Tensor, "n *s c"], periodic: tuple[bool, ...]) -> Float[Tensor, "n w k c"]:
    """Mean power of the modes of every window in bands of `|k|`, one cycle per window wide, by channel.

    Windows are tapered (Hann), and power is that of a density: white noise of variance 1 has 1 in every band. Windows
    of a periodic axis go around it; along another the last one ends with it. The mean of a window is in no band, nor
    are modes beyond the Nyquist wavenumber of its shortest axis.
    """
    sizes = tuple(min(WINDOW, n) for n in x.shape[1:-1])
    n_axes = len(sizes)
    for axis, (size, wraps) in enumerate(zip(sizes, periodic, strict=True)):
        x = _windows(x, 1 + 2 * axis, size, wraps)
    x = x.permute(0, *range(1, 2 * n_axes, 2), *range(2, 2 * n_axes + 1, 2), -1)
    x = x.flatten(1, n_axes) * _taper(sizes, x.device).unsqueeze(-1)
    modes = torch.fft.fftn(x, dim=tuple(range(2, 2 + n_axes)), norm="ortho")
    power = torch.view_as_real(modes).square().sum(-1).flatten(2, -2)
    return torch.einsum("ks,nwsc->nwkc", _bands(sizes, x.device), power)


def _windows(x: Tensor, axis: int, size: int, wraps: bool) -> Tensor:
    """An axis becomes two: windows, and the points of each."""
    points = _points(x.shape[axis], size, wraps, x.device)
    return x.index_select(axis, points.flatten()).unflatten(axis, points.shape)


@lru_cache(maxsize=8)
def _points(n: int, size: int, wraps: bool, device: torch.device) -> Tensor:
    """`(windows, size)`: which points of an axis of `n` every window has."""
    step = max(1, size // 2)
    starts = torch.arange(0, n, step) if wraps and n > size else torch.arange(0, n - size + step, step)
    starts = starts if wraps else starts.clamp(max=n - size)
    return ((starts[:, None] + torch.arange(size)) % n).to(device)


@lru_cache(maxsize=8)
def _taper(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """A product of Hann windows whose squares have a mean of 1."""
    taper = torch.ones(())
    for size in sizes:
        taper = taper.unsqueeze(-1) * (torch.hann_window(size) if size > 2 else torch.ones(size))
    return (taper / taper.square().mean().sqrt()).to(device)


@lru_cache(maxsize=8)
def _bands(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """`(bands, modes)`: what averages modes over bands; an axis of one point has no modes."""
    longest = max(sizes)
    axes = [torch.fft.fftfreq(size) * longest for size in sizes]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt().reshape(prod(sizes))
    n_bands = max(1, min(longest * (size // 2) // size for size in sizes if size > 1) if longest > 1 else 1)
    members = (radius.round() == torch.arange(1, n_bands + 1)[:, None]).float()
    return (members / members.sum(1, keepdim=True).clamp(min=1)).to(device)
