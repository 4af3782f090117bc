"""What an autoencoder's latents are like, channel by channel and together, streamed over any number of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

ACTIVE = 1e-2
"""A channel is active if its std is larger than this share of the largest one's."""
NEAR_BOUND = 0.9
"""A value is saturated beyond this share of the encoder's bound: there `saturate` has a slope of a twelfth."""
STATE = ("n_frames", "_n", "_n_changes", "_mean", "_products", "_changes", "_n_saturated", "_minimum", "_maximum")
"""What a `LatentMoments` has seen; all but the last frame."""


@dataclass(frozen=True)
class LatentStatistics:
    """Of the values of every channel at all points of all frames; arrays are `(C,)` in float64."""

    mean: np.ndarray
    std: np.ndarray
    rms_increment: np.ndarray
    """Root mean square of the change from a frame to the next; nan where no frame had a next one."""
    minimum: np.ndarray
    maximum: np.ndarray
    saturated: np.ndarray
    """Share of the values beyond `NEAR_BOUND` of the encoder's bound; 0 where it has none."""
    spectrum: np.ndarray
    """Eigenvalues of the covariance of the channels, the largest first: the variance along each principal axis."""
    n_frames: int

    @property
    def n_channels(self) -> int:
        return len(self.mean)

    @property
    def active_above(self) -> float:
        return ACTIVE * float(self.std.max())

    @property
    def active(self) -> np.ndarray:
        """Whether each channel's std is larger than `ACTIVE` times the largest."""
        return self.std > self.active_above

    @property
    def n_active(self) -> int:
        return int(self.active.sum())

    @property
    def participation_ratio(self) -> float:
        """`(sum l)² / sum l²` of the covariance's eigenvalues l: how many channels of equal variance, free of each
        other, would be as spread out. 0 where nothing varies."""
        total = float(np.square(self.spectrum).sum())
        return float(self.spectrum.sum() ** 2 / total) if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; what is not known is None."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _plain(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LatentStatistics:
        """The inverse of `to_dict`; other keys are passed over."""
        known = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        arrays = {name: np.array(v, np.float64) for name, v in known.items() if isinstance(v, list)}
        return cls(**{**known, **arrays})


class LatentMoments:
    """Sums in float64, pooled by the moments of a mixture, so that memory does not grow with the data.

    Args:
        n_channels: Of one encoded frame.
        bound: What no value exceeds in size, if the encoder has such a bound.
    """

    def __init__(self, n_channels: int, *, bound: float | None = None):
        self.n_frames = 0
        self._bound = bound
        self._n = self._n_changes = 0
        self._mean = torch.zeros(n_channels, dtype=torch.float64)
        self._products = torch.zeros(n_channels, n_channels, dtype=torch.float64)
        self._changes = torch.zeros(n_channels, dtype=torch.float64)
        self._n_saturated = torch.zeros(n_channels, dtype=torch.float64)
        self._minimum = torch.full((n_channels,), torch.inf, dtype=torch.float64)
        self._maximum = -self._minimum
        self._last: Tensor | None = None

    def add(self, z: Tensor, *, continues: bool = False) -> None:
        """Takes in consecutive frames `(B, T, *S, C)`, raw as the autoencoder encodes them, on any device.

        Args:
            z: Rows are trajectories.
            continues: Whether they follow the frames of the call before, row by row.
        """
        z = z.detach().to("cpu", torch.float64)
        self._add_changes(torch.cat([self._last, z], dim=1) if continues and self._last is not None else z)
        self._last = z[:, -1:]
        self.n_frames += z.shape[0] * z.shape[1]
        values = z.reshape(-1, z.shape[-1])
        self._pool(values)
        self._minimum = torch.minimum(self._minimum, values.amin(0))
        self._maximum = torch.maximum(self._maximum, values.amax(0))
        if self._bound is not None:
            self._n_saturated += (values.abs() > NEAR_BOUND * self._bound).sum(0)

    def pool(self, other: LatentMoments) -> None:
        """Takes in what another one has seen."""
        self._combine(other._n, other._mean, other._products)
        self.n_frames += other.n_frames
        self._n_changes += other._n_changes
        self._changes += other._changes
        self._n_saturated += other._n_saturated
        self._minimum = torch.minimum(self._minimum, other._minimum)
        self._maximum = torch.maximum(self._maximum, other._maximum)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that later frames of other trajectories are pooled with."""
        return {name: np.asarray(getattr(self, name)) for name in STATE}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """What `to_arrays` gave."""
        for name in STATE:
            value = arrays[name]
            setattr(self, name, torch.from_numpy(value.copy()) if value.ndim else value.item())

    def statistics(self) -> LatentStatistics:
        """Of everything so far."""
        covariance = self._products / max(self._n, 1)
        spectrum = torch.linalg.eigvalsh(covariance).clamp(min=0).flip(0)
        return LatentStatistics(
            mean=self._mean.numpy(),
            std=covariance.diagonal().clamp(min=0).sqrt().numpy(),
            rms_increment=(self._changes / (self._n_changes or torch.nan)).sqrt().numpy(),
            minimum=self._minimum.numpy(),
            maximum=self._maximum.numpy(),
            saturated=(self._n_saturated / max(self._n, 1)).numpy(),
            spectrum=spectrum.numpy(),
            n_frames=self.n_frames,
        )

    def _add_changes(self, z: Tensor) -> None:
        changes = z.diff(dim=1).reshape(-1, z.shape[-1])
        self._changes += changes.square().sum(0)
        self._n_changes += len(changes)

    def _pool(self, values: Tensor) -> None:
        mean = values.mean(0)
        deviations = values - mean
        self._combine(len(values), mean, deviations.T @ deviations)

    def _combine(self, n_new: int, mean: Tensor, products: Tensor) -> None:
        """Mean and sum of products of deviations, with those of the values before."""
        shift, n = mean - self._mean, self._n
        self._n += n_new
        self._mean = self._mean + shift * (n_new / max(self._n, 1))
        self._products += products + torch.outer(shift, shift) * (n * n_new / max(self._n, 1))


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
