"""What an autoencoder makes of frames and of draws: reconstructions, samples, interpolations, traversals, as grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autocast.autoencoders.gaussian import GaussianBottleneck
from autocast.data.trajectories import Trajectories
from autocast.emulators import AutoencoderModel
from autocast.errors import DataError
from autocast.evaluation.scales import PictureColours, Scale, field_scale, picture_colours, planes
from autocast.generative.noise import Noise
from autocast.types import FieldSpec

N_MEASURED = 256
"""Frames whose latents a prior is measured on, at most."""
N_STEPS = 8
"""From one end of an interpolation or a traversal to the other."""
REACH = 2.0
"""Standard deviations that a traversal goes to either side."""
MOST_TRAVERSED = 8
N_GRIDS = 4
"""Of every checkpoint."""
GAP, PAPER = 2, 255
LEAST_SIDE, MOST_SIDE = 96, 160
"""Pixels of a picture in a grid, about."""


@dataclass(frozen=True)
class Latents:
    """Mean and std of the latents of each channel, over frames and points: `(C,)` each."""

    mean: Tensor
    std: Tensor


def spread_frames(trajectories: Trajectories, n: int) -> np.ndarray:
    """`n` frames `(n, *S, C)`, evenly spaced over all of a split.

    Raises:
        DataError: There are not so many.
    """
    lengths = [trajectories.n_steps(i) for i in range(trajectories.n_trajectories)]
    if sum(lengths) < n:
        raise DataError(f"the validation split has {sum(lengths)} frames, {n} are wanted: give a smaller --samples.")
    ends = np.cumsum(lengths)
    frames = []
    for place in (k * sum(lengths) // n for k in range(n)):
        i = int(np.searchsorted(ends, place, side="right"))
        step = int(place - (ends[i] - lengths[i]))
        frames.append(trajectories.read(i, step, step + 1)[0])
    return np.stack(frames)


def prior_of(model: AutoencoderModel) -> str:
    """The prior that fits what the autoencoder was trained with: "normal" of a Gaussian bottleneck, else "measured"."""
    return "normal" if isinstance(model.autoencoder.bottleneck, GaussianBottleneck) else "measured"


@torch.no_grad()
def measure_latents(model: AutoencoderModel, frames: Tensor) -> Latents:
    """Of frames `(N, *S, C)` in physical units."""
    z = torch.cat([model.to_latents(some[:, None]) for some in frames.split(32)]).flatten(0, -2)
    return Latents(z.mean(0), z.std(0, correction=0))


@torch.no_grad()
def draw_prior(model: AutoencoderModel, n: int, seed: int, known: Latents | None) -> Tensor:
    """Frames `(n, *S, C)` in physical units decoded from normal noise, whose draws depend on `seed` and row alone.

    Args:
        model: In evaluation mode.
        n: Frames.
        seed: Of the noise.
        known: What the noise is scaled and shifted by, channel by channel; None: standard normal.
    """
    encoder = model.autoencoder.encoder
    like = torch.empty(0, device=model.normaliser.mean.device)
    z = Noise([(seed, row) for row in range(n)]).normal(1, *encoder.grid_shape, encoder.n_channels, like=like)
    return _decoded(model, z if known is None else known.mean + known.std * z)


@torch.no_grad()
def interpolate(model: AutoencoderModel, starts: Tensor, stops: Tensor) -> Tensor:
    """Frames `(n, N_STEPS, *S, C)` along straight lines between the latents of frames `(n, *S, C)`."""
    first, last = model.to_latents(starts[:, None]), model.to_latents(stops[:, None])
    shares = torch.linspace(0, 1, N_STEPS, device=first.device)
    return torch.stack([_decoded(model, torch.lerp(first, last, share)) for share in shares], dim=1)


@torch.no_grad()
def traverse(model: AutoencoderModel, frame: Tensor, known: Latents) -> Tensor:
    """Frames `(n, N_STEPS, *S, C)`: the latents of one frame `(*S, C)`, one channel shifted at all points by up to
    `REACH` standard deviations; the most variable channels first."""
    z = model.to_latents(frame[None, None])
    rows = []
    for channel in known.std.argsort(descending=True)[:MOST_TRAVERSED].tolist():
        shifts = torch.linspace(-REACH, REACH, N_STEPS, device=z.device) * known.std[channel]
        moved = z.repeat(N_STEPS, *[1] * (z.ndim - 1))
        moved[..., channel] += shifts.view(-1, *[1] * (z.ndim - 2))
        rows.append(_decoded(model, moved))
    return torch.stack(rows)


def write_grid(frames: Tensor, n_columns: int, scales: Sequence[Scale | PictureColours], file: Path) -> Path:
    """Frames `(n, *S, C)` as a grid of pictures, row by row; grids of several channels beside each other."""
    parts = np.split(frames.float().cpu().numpy(), len(scales), axis=-1)
    grids = [_grid(part, n_columns, scale) for part, scale in zip(parts, scales, strict=True)]
    space = np.full((grids[0].shape[0], 4 * GAP, 3), PAPER, np.uint8)
    sheet = [part for grid in grids for part in (grid, space)][:-1]
    partial = file.with_name(f".{file.name}")
    Image.fromarray(np.concatenate(sheet, axis=1)).save(partial, format="PNG")
    return partial.replace(file)


def field_scales(frames: np.ndarray, spec: FieldSpec) -> list[Scale] | list[PictureColours]:
    """One scale for each channel of frames `(n, *S, C)`, for all grids; coloured pictures have one for their three."""
    if spec.is_picture:
        parts = [frames] if spec.n_channels == 3 else np.split(frames, spec.n_channels, axis=-1)
        return [picture_colours(part) for part in parts]
    return [field_scale(frames[..., c]) for c in range(frames.shape[-1])]


def draw_all(
    models: Mapping[str, AutoencoderModel],
    trajectories: Trajectories,
    out: Path,
    *,
    n_rows: int,
    prior: str,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[Path]:
    """All grids of one or several checkpoints, on the same frames and with the same noise.

    Args:
        models: By label, in evaluation mode, on one device.
        trajectories: The validation split.
        out: A directory that is there.
        n_rows: Of square grids.
        prior: "normal" or "measured", or "auto".
        seed: Of the noise.
        progress: Told of the files drawn and in all.

    Returns:
        The files: `vae_input_grid.png`, and of every checkpoint `vae_recon_grid_<label>.png`,
        `vae_generated_grid_<label>.png`, `vae_interpolations_<label>.png` and `vae_traversals_<label>.png`.

    Raises:
        DataError: There are too few frames.
    """
    inputs, n_frames = spread_frames(trajectories, n_rows**2), trajectories.total_steps
    measured = torch.from_numpy(spread_frames(trajectories, min(N_MEASURED, n_frames)))
    scales, frames = field_scales(inputs, trajectories.spec), torch.from_numpy(inputs)
    files = [write_grid(frames, n_rows, scales, out / "vae_input_grid.png")]
    for label, model in models.items():
        device = model.normaliser.mean.device
        known = measure_latents(model, measured.to(device))
        for name, (drawn, n_columns) in _pictures(model, frames.to(device), n_rows, known, prior, seed).items():
            files.append(write_grid(drawn, n_columns, scales, out / f"vae_{name}_{label}.png"))
            progress(len(files), 1 + N_GRIDS * len(models))
    return files


def _pictures(
    model: AutoencoderModel, frames: Tensor, n_rows: int, known: Latents, prior: str, seed: int
) -> dict[str, tuple[Tensor, int]]:
    """Frames `(n, *S, C)` and how many of them are in a row, by the name of the grid."""
    normal = (prior_of(model) if prior == "auto" else prior) == "normal"
    drawn = draw_prior(model, len(frames), seed, None if normal else known)
    lines = interpolate(model, frames[:n_rows], frames[-n_rows:].flip(0))
    return {
        "recon_grid": (reconstructed(model, frames), n_rows),
        "generated_grid": (drawn, n_rows),
        "interpolations": (lines.flatten(0, 1), N_STEPS),
        "traversals": (traverse(model, frames[0], known).flatten(0, 1), N_STEPS),
    }


@torch.no_grad()
def reconstructed(model: AutoencoderModel, x: Tensor) -> Tensor:
    """Of frames `(n, *S, C)` in physical units."""
    return torch.cat([model.reconstruct(some[:, None])[:, 0] for some in x.split(32)])


def _decoded(model: AutoencoderModel, z: Tensor) -> Tensor:
    """Latents `(n, 1, *S', C')` to frames `(n, *S, C)` in physical units."""
    frames = [model.from_latents(some) for some in z.split(32)]
    return torch.cat(frames)[:, 0]


def _grid(frames: np.ndarray, n_columns: int, scale: Scale | PictureColours) -> np.ndarray:
    """`(H, W, 3)` of frames `(n, *S, C)` with one scale for all C; those of one axis are bars, x upwards."""
    if isinstance(scale, PictureColours):
        painted = scale.paint(frames)
    else:
        painted = scale.paint((planes(frames) if frames.ndim > 3 else frames[:, ::-1][:, :, None])[..., 0])
    height, width = painted.shape[1:3]
    zoom = max(1, LEAST_SIDE // max(height, width))
    painted = painted.repeat(zoom, axis=1).repeat(zoom if frames.ndim > 3 else LEAST_SIDE // 4, axis=2)
    step = max(1, -(-max(height, width) // MOST_SIDE))
    painted = painted[:, ::step, ::step]
    n, height, width, _ = painted.shape
    n_rows = -(-n // n_columns)
    sheet = np.full((n_rows * (height + GAP) - GAP, n_columns * (width + GAP) - GAP, 3), PAPER, np.uint8)
    for k, picture in enumerate(painted):
        top, left = k // n_columns * (height + GAP), k % n_columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet
