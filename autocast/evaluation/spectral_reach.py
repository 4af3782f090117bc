"""Up to which wavenumber a reconstruction keeps the power of the truth, and how much power lies beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocast.evaluation.result import EvaluationResult

TOLERANCE = 0.1
"""Relative error of the power of a shell that still counts as kept."""
ROUNDING = float(np.finfo(np.float32).eps) ** 2
"""Power of the rounding of fields in single precision, relative to theirs: below it there is nothing to keep."""


@dataclass(frozen=True)
class Reach:
    """Of one channel, its spectra averaged over trajectories and lead times."""

    channel: str
    wavenumber: float | None
    """The last shell before the first that is not kept; None where that is the first of all."""
    points: float
    """Grid points to a wave of that wavenumber."""
    complete: bool
    """Whether every shell with power is kept."""
    beyond: float
    """Share of the truth's power in the other shells, about."""


def spectral_reaches(result: EvaluationResult) -> list[Reach]:
    """Of every channel that has power at all; none without spectra."""
    if result.spectra is None:
        return []
    names = result.spec.channel_names
    found = [_reach(result, name, result.spectra.truth[:, :, c], result.spectra.member[:, :, c])
             for c, name in enumerate(names)]  # fmt: skip
    return [reach for reach in found if reach is not None]


def _reach(result: EvaluationResult, channel: str, truth: np.ndarray, member: np.ndarray) -> Reach | None:
    """From powers `(L, N)` of truth and reconstruction."""
    assert result.spectra is not None
    k, spec = result.spectra.wavenumber, result.spec
    truth, member = truth.mean(0), member.mean(0)
    has_power = truth > ROUNDING * truth.max()
    if not has_power.any():
        return None
    error = np.abs(member - truth)
    lost = has_power & ~(error <= TOLERANCE * truth)
    n_kept = int(lost.argmax()) if lost.any() else len(k)
    total = truth * k ** (spec.n_spatial_dims - 1)  # a shell's mean power times its modes, about
    spacing = max(length / n for length, n in zip(spec.extent, spec.grid_shape, strict=True))
    last = min(n_kept, int(np.flatnonzero(has_power)[-1]) + 1) - 1
    return Reach(
        channel=channel,
        wavenumber=float(k[last]) if n_kept else None,
        points=float(1 / (k[max(last, 0)] * spacing)),
        complete=not lost.any(),
        beyond=float(total[n_kept:].sum() / total.sum()),
    )
