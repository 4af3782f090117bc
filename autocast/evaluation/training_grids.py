"""What an autoencoder makes of the same frames and the same draws, again and again while it is trained."""

from __future__ import annotations

from pathlib import Path

import torch

from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.data.trajectories import Trajectories
from autocast.emulators import AutoencoderModel
from autocast.evaluation.latent_samples import (
    draw_prior,
    field_scales,
    measure_latents,
    prior_of,
    reconstructed,
    spread_frames,
    write_grid,
)

SEED = 42
"""Of the draws: that of `autocast sample`."""


def draw_training_grids(
    model: AutoencoderModel, directory: Path, epoch: int, *, trajectories: Trajectories, n_frames: int
) -> list[Path]:
    """Frames above their reconstructions, and frames decoded from the prior where the bottleneck has one.

    Args:
        model: In evaluation mode.
        directory: Gets the pictures.
        epoch: For their names.
        trajectories: A split, whose frames are evenly spaced.
        n_frames: At most; as many are in a row, and drawn twice.

    Returns:
        `reconstruction_epoch_<n>.png`, and `generated_epoch_<n>.png`.
    """
    inputs = spread_frames(trajectories, min(n_frames, trajectories.total_steps))
    scales, n = field_scales(inputs, trajectories.spec), len(inputs)
    frames = torch.from_numpy(inputs).to(model.normaliser.mean.device)
    pairs = torch.cat([frames, reconstructed(model, frames)])
    files = [write_grid(pairs, n, scales, directory / f"reconstruction_epoch_{epoch:03}.png")]
    if isinstance(model.autoencoder.bottleneck, IdentityBottleneck):
        return files
    known = None if prior_of(model) == "normal" else measure_latents(model, frames)
    drawn = draw_prior(model, 2 * n, SEED, known)
    return [*files, write_grid(drawn, n, scales, directory / f"generated_epoch_{epoch:03}.png")]
