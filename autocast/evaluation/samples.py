"""Pictures of data as they are, and of a model at work on them while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autocast.data.trajectories import Trajectories
from autocast.evaluation.drawings import MOST_CHANNELS, file_name, save_png
from autocast.evaluation.result import Example
from autocast.evaluation.snapshots import draw_contact_sheet, draw_snapshot
from autocast.evaluation.trajectory_batches import initial_steps
from autocast.evaluation.videos import draw_dataset_video

N_STEPS = 12
N_MEMBERS = 4
N_DRAWN = 4
"""Trajectories of a data set that are drawn."""


def draw_dataset(trajectories: Trajectories, path: Path) -> Path:
    """The first trajectories of a split: a contact sheet (.png) or a film (anything else).

    Returns:
        The path written: `path`, or its .gif where mp4 cannot be encoded.
    """
    drawn = range(min(N_DRAWN, trajectories.n_trajectories))
    n_steps = min(trajectories.n_steps(i) for i in drawn)
    fields = np.stack([trajectories.read(i, 0, n_steps) for i in drawn])
    labels = [f"trajectory {i}" for i in drawn]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        return draw_contact_sheet(fields, trajectories.spec, path, labels=labels)
    return draw_dataset_video(fields, trajectories.spec, path, labels=labels)


@torch.no_grad()
def draw_samples(model: Any, directory: Path, epoch: int, *, trajectories: Trajectories) -> list[Path]:
    """Snapshots of a short forecast of the first trajectory, one picture per channel.

    Args:
        model: As an evaluation takes it.
        directory: Gets a folder `epoch-<n>` with the pictures.
        epoch: For its name.
        trajectories: A split.
    """
    directory = directory / f"epoch-{epoch:04}"
    directory.mkdir(parents=True, exist_ok=True)
    n_input, stride = initial_steps(model, trajectories), model.stride
    n_frames = min(n_input + N_STEPS, len(range(0, trajectories.n_steps(0), stride)))
    read = trajectories.read(0, 0, (n_frames - 1) * stride + 1, stride)
    frames, n_steps = torch.from_numpy(read)[None].to(model.normaliser.mean.device), n_frames - n_input
    truth = frames[:, n_input:]
    known = {"scalars": _row(trajectories.scalars(0), frames), "constant_fields": None}
    constant_fields = trajectories.constant_fields(0)
    if constant_fields is not None:
        known["constant_fields"] = _row(constant_fields, frames)
    windows = list(model.forecast(frames[:, :n_input], n_steps, n_members=N_MEMBERS, seed=0, truth=truth, **known))
    members = torch.cat(windows, dim=2)[0].cpu()
    example = Example(
        trajectory=0,
        initial=frames[0, :n_input].cpu().numpy(),
        truth=truth[0].cpu().numpy(),
        members=members.numpy(),
        mean=members.mean(0).numpy(),
        spread=members.std(0).numpy() if len(members) > 1 else None,
    )
    spec = trajectories.spec
    return [
        save_png(draw_snapshot(example, spec, channel), directory / f"snapshots_{file_name(name)}.png")
        for channel, name in enumerate(spec.channel_names[:MOST_CHANNELS])
    ]


def _row(values: Any, like: Tensor) -> Tensor | None:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)[None] if values.size else None
