"""Affine normalisation of channels: fitted once, stored in the checkpoint, applied on the device to whole batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from autocast.errors import ConfigError

MINMAX = "minmax"
NORMALISATIONS = ("zscore", "rms", MINMAX, "none")
Limits = tuple[np.ndarray, np.ndarray]
"""Smallest and largest value of each channel: `(C,)` each."""


class Normaliser(nn.Module):
    """`(x - mean) / std` per channel of `(..., C)`, and back. A channel that does not vary is only shifted."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        tiny = 1e-7 * (mean.square() + std.square()).sqrt()  # below what float32 resolves around the mean
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", torch.where(std > tiny, std, torch.ones_like(std)).float())

    @classmethod
    def identity(cls, n_channels: int) -> Normaliser:
        return cls(torch.zeros(n_channels), torch.ones(n_channels))

    def normalise(self, x: Tensor) -> Tensor:
        """`(..., C)` in physical units to order one, in one pass over them."""
        return torch.addcmul(-self.mean / self.std, x, 1 / self.std)

    def denormalise(self, x: Tensor) -> Tensor:
        """`(..., C)` back to physical units."""
        return torch.addcmul(self.mean, x, self.std)


def fit_normaliser(
    normalisation: str, mean: np.ndarray, std: np.ndarray, *, limits: Limits | None = None
) -> Normaliser:
    """By "zscore", by "rms" (no shift, so that zero stays zero), by "minmax" (to -1 ... 1) or by nothing ("none").

    Args:
        normalisation: One of `NORMALISATIONS`.
        mean: Of each channel, `(C,)`.
        std: Likewise.
        limits: What "minmax" is fitted to.
    """
    mean_, std_ = torch.from_numpy(np.asarray(mean)), torch.from_numpy(np.asarray(std))
    match normalisation:
        case "zscore":
            return Normaliser(mean_, std_)
        case "rms":
            return Normaliser(torch.zeros_like(mean_), (mean_.square() + std_.square()).sqrt())
        case "minmax" if limits is not None:
            low, high = (torch.from_numpy(np.asarray(limit)) for limit in limits)
            return Normaliser((low + high) / 2, (high - low) / 2)
        case "none":
            return Normaliser.identity(len(mean_))
    raise ConfigError(f"normalisation={normalisation}: no such normalisation. There are: {', '.join(NORMALISATIONS)}.")
