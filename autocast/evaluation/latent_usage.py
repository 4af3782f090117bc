"""How much of its latents an autoencoder uses, measured on the frames that it is scored on."""

from __future__ import annotations

import math

import pandas as pd

from autocast.autoencoders.latent_moments import LatentMoments
from autocast.emulators import AutoencoderModel
from autocast.evaluation.result import LATENT_COLUMNS, LatentUsage
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.layout import split_frames
from autocast.metrics.terms import Window


class LatentUsageStream:
    """Encodes the truth of the windows that it is shown."""

    def __init__(self, model: AutoencoderModel):
        self._model = model
        self._encoder = model.autoencoder.encoder
        self._moments = LatentMoments(self._encoder.n_channels, bound=self._encoder.latent_bound)

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:  # noqa: ARG002
        z = split_frames(self._model.to_latents(window.truth), self._encoder.n_channels)
        self._moments.add(z, continues=start > 0)

    def finish(self) -> LatentUsage:
        found = self._moments.statistics()
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
