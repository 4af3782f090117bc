"""How much of its latents an autoencoder uses, measured on the frames that it is scored on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from autocast.autoencoders.latent_moments import LatentMoments
from autocast.emulators import AutoencoderModel
from autocast.evaluation.result import LATENT_COLUMNS, LatentUsage
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.layout import split_frames
from autocast.metrics.terms import Window


class LatentUsageStream:
    """Encodes the truth of the windows that it is shown, and keeps the moments of each batch apart."""

    def __init__(self, model: AutoencoderModel):
        self._model = model
        self._encoder = model.autoencoder.encoder
        self._moments: dict[int, LatentMoments] = {}

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        z = split_frames(self._model.to_latents(window.truth), self._encoder.n_channels)
        self._moments.setdefault(batch.numbers[0], self._none()).add(z, continues=start > 0)

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The moments of a batch."""
        return self._moments[numbers[0]].to_arrays()

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        self._moments[numbers[0]] = self._none()
        self._moments[numbers[0]].load_arrays(arrays)

    def finish(self) -> LatentUsage:
        total = self._none()
        for first in sorted(self._moments):
            total.pool(self._moments[first])
        found = total.statistics()
        numbers = range(found.n_channels)
        columns = [numbers, *(getattr(found, name) for name in LATENT_COLUMNS[1:])]
        return LatentUsage(
            table=pd.DataFrame(dict(zip(LATENT_COLUMNS, columns, strict=True))),
            spectrum=found.spectrum,
            active_above=found.active_above,
            participation_ratio=found.participation_ratio,
            n_values=math.prod(self._model.spec.grid_shape) * self._model.spec.n_channels,
            n_latents=math.prod(self._encoder.grid_shape) * self._encoder.n_channels,
        )

    def _none(self) -> LatentMoments:
        return LatentMoments(self._encoder.n_channels, bound=self._model.autoencoder.latent_bound)
