"""Real fields on a periodic grid and their Fourier coefficients, without the modes that products would alias."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Dealiasing = Callable[[list[Tensor]], Tensor]
"""From `|mode number| / points` of each axis, shaped to broadcast, to whether a mode is kept."""


def two_thirds(fractions: list[Tensor]) -> Tensor:
    """Keep modes below a third of the points of every axis: quadratic products are then exact."""
    return functools.reduce(torch.logical_and, [f < 1 / 3 for f in fractions])


def corners(fractions: list[Tensor]) -> Tensor:
    """Drop only modes above a third of the points of all axes at once, as Chebfun's `spin` does in two and three
    dimensions. It resolves more and aliases more; Gray-Scott's fronts at The Well's 128 x 128 points need it: with the
    two-thirds rule the mean of A is 3 % too high.
    """
    return ~functools.reduce(torch.logical_and, [f > 1 / 3 for f in fractions])


class SpectralGrid:
    """Transforms between `(..., *S)` and `(..., *K)`, and the wavenumbers of the coefficients.

    Modes that dealiasing drops are masked; along the last axis they are not even stored beyond the last one that is
    kept. By the two-thirds rule that makes transforms and arithmetic a third cheaper.
    """

    def __init__(
        self,
        grid_shape: Sequence[int],
        extent: Sequence[float],
        device: torch.device | str = "cpu",
        dealiasing: Dealiasing = two_thirds,
    ) -> None:
        self.grid_shape = tuple(grid_shape)
        self.extent = tuple(extent)
        self.n_dims = len(self.grid_shape)
        self.leading = tuple(range(-self.n_dims, -1))
        self.device = torch.device(device)
        self.n_last = self.grid_shape[-1] // 2 + 1
        kept = dealiasing([m.abs() / n for m, n in zip(self.modes, self.grid_shape, strict=True)])
        self.n_last = 1 + int(kept.reshape(-1, self.n_last).any(dim=0).nonzero().max())
        self.mask = kept[..., : self.n_last].to(torch.float64)
        """1 for the modes that are kept, 0 for the others, `(*K)`."""

    def transform(self, x: Tensor) -> Tensor:
        """Amplitudes `(..., *K)` of real fields `(..., *S)`; the modes that `mask` leaves out are not removed."""
        v = torch.fft.rfft(x, norm="forward").narrow(-1, 0, self.n_last)
        return torch.fft.fftn(v, dim=self.leading, norm="forward") if self.leading else v

    def inverse(self, v: Tensor) -> Tensor:
        """Real fields `(..., *S)` of amplitudes `(..., *K)`."""
        if self.leading:
            v = torch.fft.ifftn(v, dim=self.leading, norm="forward")
        return torch.fft.irfft(v, n=self.grid_shape[-1], norm="forward")

    def lay_out(self, values: Tensor) -> Tensor:
        """A copy of `(..., *K)` with the order in memory that `transform` gives its results.

        A transform along an axis leaves that axis contiguous, and arithmetic that mixes orders is several times slower.
        """
        like = self.transform(torch.zeros(*values.shape[: -self.n_dims], *self.grid_shape, device=self.device))
        return torch.empty_like(like, dtype=values.dtype).copy_(values)

    def symmetrise_(self, v: Tensor) -> Tensor:
        """Make the amplitudes `(..., *K)` those of a real field, in place.

        Where the last mode number is 0, modes m and -m are both stored. Rounding makes them differ, no transform sees
        it, and where the linear part grows it would grow unchecked: from 1e-16 to 1 within 37 of its time scales.
        """
        plane = v[..., 0]
        axes = tuple(range(1 - self.n_dims, 0))
        mirrored = plane.flip(axes).roll((1,) * len(axes), axes).conj()
        v[..., 0] = (plane + mirrored) / 2
        return v

    @property
    def modes(self) -> list[Tensor]:
        """Signed mode numbers of each axis, float64, shaped to broadcast over `(*K)`."""
        # fftfreq's default is float32, which spoils a float64 solver in the eighth digit
        modes = [torch.fft.fftfreq(n, d=1 / n, device=self.device, dtype=torch.float64) for n in self.grid_shape]
        modes[-1] = torch.arange(self.n_last, device=self.device, dtype=torch.float64)
        return [m.reshape([-1 if i == j else 1 for j in range(self.n_dims)]) for i, m in enumerate(modes)]

    @property
    def wavenumbers(self) -> list[Tensor]:
        """Angular wavenumbers of each axis, float64, shaped to broadcast over `(*K)`."""
        return [2 * math.pi / length * m for length, m in zip(self.extent, self.modes, strict=True)]

    @property
    def laplacian(self) -> Tensor:
        """The symbol of the Laplacian, `(*K)` float64."""
        return -sum((k.square() for k in self.wavenumbers), torch.zeros((), device=self.device, dtype=torch.float64))
