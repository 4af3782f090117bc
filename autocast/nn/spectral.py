"""Convolutions in Fourier space: every low mode gets its own linear map of the channels."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn


class SpectralConvolution(nn.Module):
    """Multiplies the modes up to wavenumber `modes`, of all signs, by complex matrices, and drops the others.

    On periodic axes that is a circular convolution with a band-limited kernel. Axes with ends are continued by zeros
    for at least a quarter of their length, so that the kernel sees an end, and next to nothing of the opposite one.
    Wavenumbers count the waves on an axis with its continuation; those that the grid does not resolve (and the
    ambiguous one of two points per wave) are left out. Transforms are made in at least single precision.

    References:
        | Fourier Neural Operator for Parametric Partial Differential Equations (Li et al., 2020)
        | https://arxiv.org/abs/2010.08895
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        grid_shape: tuple[int, ...],
        periodic: tuple[bool, ...],
        modes: int,
    ) -> None:
        super().__init__()
        self._lengths = tuple(n if wraps else _continued(n) for n, wraps in zip(grid_shape, periodic, strict=True))
        self._modes = tuple(min(modes, (n - 1) // 2) for n in self._lengths)
        self._kept = (*(2 * m + 1 for m in self._modes[:-1]), self._modes[-1] + 1)
        weight = torch.randn(math.prod(self._kept), in_channels, out_channels, 2) / math.sqrt(2 * in_channels)
        self.weight = nn.Parameter(weight)
        """Real and imaginary parts `(modes, Ci, Co, 2)`, modes in row-major order: 0, 1, ..., -2, -1 on all axes but
        the last, and 0, 1, ... on that."""

    def forward(self, x: Float[Tensor, "b ci *s"]) -> Float[Tensor, "b co *s"]:
        with torch.autocast(x.device.type, enabled=False):
            exact = x if x.dtype == torch.float64 else x.float()
            weight = torch.view_as_complex(self.weight.to(exact.dtype))
            low = self._analyse(exact).flatten(2).permute(2, 0, 1)
            low = (low @ weight).permute(1, 2, 0).unflatten(2, self._kept)
            y = self._synthesise(low)
        for axis, n in enumerate(x.shape[2:], start=2):
            y = y.narrow(axis, 0, n)
        return y.to(x.dtype)

    def _analyse(self, x: Float[Tensor, "b c *s"]) -> Complex[Tensor, "b c *m"]:
        """The low modes, axis by axis, so that later transforms have less to do."""
        last = x.ndim - 1
        z = torch.fft.rfft(x, self._lengths[-1], dim=last, norm="forward").narrow(last, 0, self._kept[-1])
        for axis, (n, m) in enumerate(zip(self._lengths[:-1], self._modes[:-1], strict=True), start=2):
            z = torch.fft.fft(z, n, dim=axis, norm="forward")
            z = torch.cat([z.narrow(axis, 0, m + 1), z.narrow(axis, n - m, m)], dim=axis)
        return z

    def _synthesise(self, z: Complex[Tensor, "b c *m"]) -> Float[Tensor, "b c *n"]:
        """The field of the low modes, on the grid with its continuation."""
        last = z.ndim - 1
        for axis, (n, m) in enumerate(zip(self._lengths[:-1], self._modes[:-1], strict=True), start=2):
            high = z.new_zeros(*z.shape[:axis], n - 2 * m - 1, *z.shape[axis + 1 :])
            z = torch.cat([z.narrow(axis, 0, m + 1), high, z.narrow(axis, m + 1, m)], dim=axis)
            z = torch.fft.ifft(z, dim=axis, norm="forward")
        return torch.fft.irfft(z, self._lengths[-1], dim=last, norm="forward")


def _continued(n: int) -> int:
    """The least length of at least 5/4 n that a Fourier transform is fast for: one without prime factors above 5."""
    length = n + -(-n // 4)
    while _largest_prime(length) > 5:
        length += 1
    return length


def _largest_prime(n: int) -> int:
    largest, p = 1, 2
    while n > 1:
        while n % p == 0:
            largest, n = p, n // p
        p += 1
    return largest
