"""Fills a cache of latents with the encoder of a trained model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from autocast.assembly import read_checkpoint
from autocast.data.datamodule import FieldDataModule
from autocast.data.latents_cache import Progress, latents_spec, write_latents
from autocast.data.latents_manifest import LatentsManifest
from autocast.emulators import AutoencoderModel, EncoderProcessorDecoder
from autocast.errors import CheckpointError, DataError

FIELDS = ("channel_names", "grid_shape", "boundary")
"""What an encoder knows of the fields that it was trained on."""


def cache_latents(
    model: AutoencoderModel | EncoderProcessorDecoder,
    datamodule: FieldDataModule,
    directory: Path,
    *,
    checkpoint: Path,
    checkpoint_sha256: str,
    dtype: str,
    batch_size: int,
    progress: Progress,
) -> LatentsManifest:
    """Encodes every split once, in order, or goes on where that was interrupted.

    Args:
        model: Filled from `checkpoint`, in evaluation mode.
        datamodule: What is encoded, frame by frame, whatever its steps.
        directory: The cache's.
        checkpoint: Where the weights came from.
        checkpoint_sha256: Its digest.
        dtype: How latents are stored: "float32", "bfloat16" or "float16".
        batch_size: Frames that are encoded at once.
        progress: Told the frames done and in all after every trajectory.

    Raises:
        CheckpointError: The encoder was not trained, or has nothing to cache.
        DataError: The data are not such as it was trained on; see also `write_latents`.
    """
    check_trained(model, checkpoint)
    _check_fields(model, datamodule)
    encoder, device = model.autoencoder.encoder, model.normaliser.mean.device
    splits = {name: datamodule.whole_split(name) for name in datamodule.header.splits}
    plan = LatentsManifest(
        directory=directory,
        checkpoint=str(checkpoint.absolute()),
        checkpoint_sha256=checkpoint_sha256,
        data_path=str(datamodule.header.path.absolute()),
        data_digest=datamodule.digest,
        dtype=dtype,
        fields=datamodule.spec,
        latents=latents_spec(datamodule.spec, n_channels=encoder.n_channels, grid_shape=encoder.grid_shape),
        splits={name: tuple(s.n_steps(i) for i in range(s.n_trajectories)) for name, s in splits.items()},
    )

    @torch.no_grad()
    def encode(frames: Tensor) -> Tensor:
        return model.to_latents(frames[None].to(device))[0]

    return write_latents(plan, splits, encode, batch_size=batch_size, progress=progress)


def check_trained(model: AutoencoderModel | EncoderProcessorDecoder, checkpoint: Path) -> None:
    """Refuses an encoder that has nothing to cache, or was never trained.

    Raises:
        CheckpointError: It is one.
    """
    encoder = model.autoencoder.encoder
    if encoder.merges_frames or not any(True for _ in encoder.parameters()):
        raise CheckpointError(
            f"{checkpoint}: {type(encoder).__name__} only moves axes, so there are no latents to cache. Give the run "
            "of a trained autoencoder, or train on the fields: autocast epd"
        )
    if read_checkpoint(checkpoint)["global_step"] < 1:
        raise CheckpointError(f"{checkpoint}: holds weights before their first training step. Train it: autocast ae")


def _check_fields(model: AutoencoderModel | EncoderProcessorDecoder, datamodule: FieldDataModule) -> None:
    for name in FIELDS:
        ours, theirs = getattr(model.spec, name), getattr(datamodule.spec, name)
        if ours != theirs:
            raise DataError(
                f"data set {datamodule.header.path}: {name} is {theirs}; the autoencoder was trained on {ours}. "
                "Train an autoencoder on this data set: autocast ae"
            )
