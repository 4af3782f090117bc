"""Whether a rollout stays where its trajectory is: blow-up, and drift of what may be conserved.

Every score takes a `Reference`, and returns the average of the members' scores, `(B, T, C)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autocast.layout import space_axes
from autocast.metrics.catalogue import BLOW_UP_RANGES


@dataclass(frozen=True)
class Reference:
    """Of each trajectory's truth: `(B, C)` each."""

    low: Tensor
    """Least value over all steps and points."""
    high: Tensor
    """Largest value."""
    mean: Tensor
    """Mean over space at lead time 1."""
    energy: Tensor
    """Mean square over space at lead time 1."""

    @classmethod
    def of(cls, truth: Tensor, n_spatial_dims: int) -> Reference:
        """From the truth at all lead times, `(B, T, *S, C)`."""
        axes = space_axes(n_spatial_dims)
        first = truth[:, 0]
        all_axes = (1, *range(2, 2 + n_spatial_dims))
        return cls(truth.amin(all_axes), truth.amax(all_axes), first.mean(axes), first.square().mean(axes))

    def to(self, device: torch.device, dtype: torch.dtype) -> Reference:
        return Reference(*(values.to(device, dtype) for values in (self.low, self.high, self.mean, self.energy)))


def blow_up(reference: Reference, largest_errors: Tensor) -> Tensor:
    """Share of members that are not finite, or somewhere err by more than 5 times the range of the truth.

    Of the largest errors in space, `(B, M, T, C)`. A channel whose truth is constant has no range: there only what is
    not finite counts.
    """
    reach = BLOW_UP_RANGES * (reference.high - reference.low)
    limit = _beside_members(reach.where(reach > 0, torch.finfo(reach.dtype).max))
    return 1 - (largest_errors <= limit).to(largest_errors.dtype).mean(1)


def mean_drift(reference: Reference, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Change of a forecast's mean over space since the truth at lead time 1, over that truth's root mean square.

    Of a forecast `(B, M, T, *S, C)`.
    """
    change = forecast.mean(space_axes(n_spatial_dims)) - _beside_members(reference.mean)
    return (change.abs() / _beside_members(reference.energy).sqrt()).mean(1)


def energy_drift(reference: Reference, forecast: Tensor, n_spatial_dims: int) -> Tensor:
    """Relative change of the mean square over space of a forecast, `(B, M, T, *S, C)`, since the truth at lead 1."""
    energy = _beside_members(reference.energy)
    change = forecast.square().mean(space_axes(n_spatial_dims)) - energy
    return (change.abs() / energy).mean(1)


def _beside_members(values: Tensor) -> Tensor:
    """`(B, C)` to `(B, 1, 1, C)`."""
    return values[:, None, None]
