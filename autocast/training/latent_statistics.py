"""The statistics of a trained autoencoder's latents: measured over a split, and kept in a file of its run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autocast import layout
from autocast.autoencoders.latent_moments import LatentMoments, LatentStatistics
from autocast.data.manifest import write_json
from autocast.data.trajectories import Trajectories
from autocast.emulators import AutoencoderModel


@torch.no_grad()
def latent_statistics(
    model: AutoencoderModel,
    trajectories: Trajectories,
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> LatentStatistics:
    """Of all frames of a split, encoded once.

    Args:
        model: In evaluation mode, on the device to be used.
        trajectories: Usually the training split.
        batch_size: Frames in a call of the encoder.
        progress: Told the frames done and in all.
    """
    encoder, device = model.autoencoder.encoder, model.normaliser.mean.device
    moments = LatentMoments(encoder.n_channels, bound=model.autoencoder.latent_bound)
    for pieces in frame_batches(trajectories, batch_size):
        frames = torch.from_numpy(np.concatenate([piece.frames for piece in pieces]))
        encoded = layout.split_frames(model.to_latents(frames[:, None].to(device)), encoder.n_channels)[:, 0]
        for piece, z in zip(pieces, encoded.split([len(piece.frames) for piece in pieces]), strict=True):
            moments.add(z[None], continues=piece.continues)
        if progress is not None:
            progress(moments.n_frames, trajectories.total_steps)
    return moments.statistics()


@dataclass(frozen=True)
class Piece:
    """Consecutive frames of one trajectory."""

    frames: np.ndarray
    """`(T, *S, C)`"""
    continues: bool
    """Whether they follow the frames of the piece before."""


def frame_batches(trajectories: Trajectories, batch_size: int) -> Iterator[list[Piece]]:
    """All frames in order, `batch_size` at a time, cut where trajectories end."""
    batch: list[Piece] = []
    room = batch_size
    for i in range(trajectories.n_trajectories):
        start, n_steps = 0, trajectories.n_steps(i)
        while start < n_steps:
            stop = min(start + room, n_steps)
            batch.append(Piece(trajectories.read(i, start, stop), continues=start > 0))
            room, start = room - (stop - start), stop
            if room == 0:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch


def write_latent_statistics(
    statistics: LatentStatistics, file: Path, *, checkpoint_sha256: str, data_digest: str
) -> Path:
    """Writes a JSON file, whole or not at all; it says of which weights and of which data the statistics are."""
    derived = {"n_active": statistics.n_active, "participation_ratio": statistics.participation_ratio}
    source = {"checkpoint_sha256": checkpoint_sha256, "data_digest": data_digest}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {**source, **derived, **statistics.to_dict()})
    return file


def read_latent_statistics(
    file: Path, *, checkpoint_sha256: str, data_digest: str | None = None
) -> LatentStatistics | None:
    """The statistics in a file, if there is one and it is of this checkpoint (and, if that matters, of this data)."""
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    fits = content["checkpoint_sha256"] == checkpoint_sha256 and data_digest in (None, content["data_digest"])
    return LatentStatistics.from_dict(content) if fits else None
