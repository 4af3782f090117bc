"""Exponential time differencing of order four for stiff equations with a diagonal linear part.

With `dv/dt = L v + N(v)` for Fourier amplitudes v and a step h,

    a  = e^(Lh/2) v + Q N(v)
    b  = e^(Lh/2) v + Q N(a)
    c  = e^(Lh/2) a + Q (2 N(b) - N(v))
    v' = e^(Lh) v + f_1 N(v) + 2 f_2 (N(a) + N(b)) + f_3 N(c)

where, with z = Lh,

    Q   = h (e^(z/2) - 1) / z
    f_1 = h (-4 - z + e^z (4 - 3 z + z^2)) / z^3
    f_2 = h (2 + z + e^z (z - 2)) / z^3
    f_3 = h (-4 - 3 z - z^2 + e^z (4 - z)) / z^3

cancel badly for small z and are therefore computed as means over a circle around z.

References:
    | Exponential Time Differencing for Stiff Systems (Cox and Matthews, 2002) | https://doi.org/10.1006/jcph.2002.6995
    | Fourth-order time stepping for stiff PDEs (Kassam and Trefethen, 2005) | https://doi.org/10.1137/S1064827502410633
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autocast.simulators.spectral import SpectralGrid

N_CONTOUR_POINTS = 32


@dataclass(frozen=True)
class Coefficients:
    """The factors of one step, each shaped as the linear symbol: real if that is real."""

    exp_half: Tensor
    q: Tensor
    f_1: Tensor
    f_2: Tensor
    f_3: Tensor


def coefficients(linear: Tensor, dt: float) -> Coefficients:
    """The factors for a linear symbol (real or complex, float64), by contour integrals over a unit circle."""
    z_0 = dt * linear.to(torch.complex128)
    total = [torch.zeros_like(z_0) for _ in range(4)]
    for j in range(N_CONTOUR_POINTS):
        angle = 2 * math.pi * (j + 0.5) / N_CONTOUR_POINTS
        values = _phi(z_0 + complex(math.cos(angle), math.sin(angle)))
        total = [term + value for term, value in zip(total, values, strict=True)]
    q, f_1, f_2, f_3 = (dt / N_CONTOUR_POINTS * term for term in total)
    factors = ((z_0 / 2).exp(), q, f_1, f_2, f_3)
    return Coefficients(*(factors if linear.is_complex() else (factor.real for factor in factors)))


def _phi(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q / h, f_1 / h, f_2 / h and f_3 / h away from zero."""
    exp, cube = z.exp(), z**3
    return (
        ((z / 2).exp() - 1) / z,
        (-4 - z + exp * (4 - 3 * z + z**2)) / cube,
        (2 + z + exp * (z - 2)) / cube,
        (-4 - 3 * z - z**2 + exp * (4 - z)) / cube,
    )


def _keep_freed_memory() -> None:
    """Keep glibc from handing freed tensors back to the system after every operation of a step.

    Its thresholds follow the largest block freed so far, up to 32 MB, so freeing one such block, never touched, is
    enough. Without it, page faults took up to half the time of a step of eight 128 x 128 trajectories in float64.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


class Etdrk4:
    """Steps a batch of fields on a periodic grid, dealiased.

    With a real linear symbol everything but the transforms works on the real view of the amplitudes with real factors,
    into which the dealiasing mask and `weights` are folded: a step then costs little more than its transforms.
    """

    def __init__(
        self,
        grid: SpectralGrid,
        linear: Tensor,
        nonlinear: Callable[[Tensor], Tensor],
        *,
        dt: float,
        dtype: torch.dtype,
        weights: Sequence[float] | None = None,
        equilibrium: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            grid: Where the fields live.
            linear: The linear symbol, `(C, *K)` or `(B, C, *K)`, float64 or complex128.
            nonlinear: Amplitudes `(B, C, *K)` to those of the nonlinear term, `(B, C, *K)`, or `(B, 1, *K)` where all
                channels share it up to their weight.
            dt: The step.
            dtype: float32 or float64, of the fields.
            weights: Factor of the nonlinear term for each channel; 1 unless given.
            equilibrium: A constant for each channel around which the equation is written: amplitudes are those of the
                deviation from it.
        """
        _keep_freed_memory()
        n_channels = linear.shape[-1 - grid.n_dims]
        per_channel = (n_channels, *[1] * grid.n_dims)
        weight = torch.tensor(weights or [1.0] * n_channels, dtype=torch.float64, device=grid.device)
        self.grid = grid
        self.nonlinear = nonlinear
        self.real = not linear.is_complex()
        self.grows = grid.n_dims > 1 and bool((linear.real > 0).any())
        self.equilibrium = torch.tensor(equilibrium or [0.0] * n_channels, dtype=dtype, device=grid.device)
        self.equilibrium = self.equilibrium.reshape(per_channel)
        self.mask = self._factor(grid.mask, dtype)
        factors, scale = coefficients(linear, dt), grid.mask * weight.reshape(per_channel)
        self.exp_half = self._factor(factors.exp_half * grid.mask, dtype)
        self.q, self.f_1, self.f_2, self.f_3 = (
            self._factor(f * scale, dtype) for f in (factors.q, factors.f_1, factors.f_2, factors.f_3)
        )

    def start(self, fields: Tensor) -> Tensor:
        """`(B, C, *S)` to a state: without the modes that are not resolved."""
        return self._pack(self.grid.transform(fields - self.equilibrium)) * self.mask

    def fields(self, state: Tensor) -> Tensor:
        """A state to `(B, C, *S)`."""
        return self.grid.inverse(self._unpack(state)) + self.equilibrium

    def step(self, state: Tensor) -> Tensor:
        n_v = self._evaluate(state)
        half = self.exp_half * state
        a = torch.addcmul(half, self.q, n_v)
        n_a = self._evaluate(a)
        new = self.exp_half * half
        b = half.addcmul_(self.q, n_a)
        n_b = self._evaluate(b)
        c = a.mul_(self.exp_half).addcmul_(self.q, torch.sub(n_b, n_v, alpha=0.5), value=2)
        n_c = self._evaluate(c)
        new.addcmul_(self.f_1, n_v).addcmul_(self.f_2, n_a.add_(n_b), value=2).addcmul_(self.f_3, n_c)
        if self.grows:
            self.grid.symmetrise_(self._unpack(new))
        return new

    def _evaluate(self, state: Tensor) -> Tensor:
        return self._pack(self.nonlinear(self._unpack(state)))

    def _pack(self, v: Tensor) -> Tensor:
        return torch.view_as_real(v) if self.real else v

    def _unpack(self, state: Tensor) -> Tensor:
        return torch.view_as_complex(state) if self.real else state

    def _factor(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """A factor as `step` wants it: if real, the same number beside both parts of an amplitude."""
        value = torch.complex(value, value) if self.real else value
        return self._pack(self.grid.lay_out(value.to(torch.complex64 if dtype == torch.float32 else torch.complex128)))
