"""Forecasts streamed to a file in The Well's layout: every member is a trajectory of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autocast.data.splits import open_file, open_split
from autocast.data.trajectories import Trajectories
from autocast.data.well_writer import WellWriter, well_file
from autocast.emulators import EncoderProcessorDecoder
from autocast.errors import DataError
from autocast.evaluation.rollout_file import ORIGIN_NAMES
from autocast.types import FieldSpec

Progress = Callable[[int, int], None]
"""Told the steps that are done and those that there will be."""


@dataclass(frozen=True)
class Plan:
    """What is forecast, from where, and how far."""

    model: EncoderProcessorDecoder
    source: Trajectories
    n_steps: int
    n_members: int
    seed: int

    @property
    def spec(self) -> FieldSpec:
        """Of the file: the source's, with the origin of every forecast among the scalars."""
        spec = self.source.spec
        names = (*self.model.spec.scalar_names, *ORIGIN_NAMES)
        return dataclasses.replace(spec, scalar_names=names, time_step=spec.time_step * self.model.stride)


def plan_forecast(
    model: EncoderProcessorDecoder,
    source: str,
    *,
    split: str,
    n_steps: int | None,
    n_members: int,
    seed: int,
) -> Plan:
    """Checks that a source can be forecast by a model.

    Args:
        model: In evaluation mode.
        source: A data set directory, or a file in The Well's layout; its first frames are the initial state.
        split: Of a data set.
        n_steps: Steps to forecast; None is as far as the source goes.
        n_members: Of the ensemble.
        seed: Of the draws.

    Raises:
        DataError: The source has other fields than the model, too few frames, or none to compare with and no length.
    """
    trajectories = open_file(source) if Path(source).is_file() else open_split(source, split)
    _check_fields(source, model.spec, trajectories.spec)
    shortest = min(trajectories.n_steps(i) for i in range(trajectories.n_trajectories))
    left = len(range(0, shortest, model.stride)) - model.n_steps_input
    if left < 0:
        raise DataError(f"{source}: has {shortest} frames; the emulator starts from {model.n_steps_input}.")
    if n_steps is None and left == 0:
        raise DataError(f"{source}: holds initial frames only. Say how far to forecast: --n-steps N.")
    n_members = 1 if model.deterministic else n_members
    return Plan(model, trajectories, n_steps or left, n_members, seed)


def _check_fields(source: str, ours: FieldSpec, theirs: FieldSpec) -> None:
    """A source has the emulator's fields and scalars; where an earlier forecast came from does not matter."""
    if theirs.scalar_names[-len(ORIGIN_NAMES) :] == ORIGIN_NAMES:
        theirs = dataclasses.replace(theirs, scalar_names=theirs.scalar_names[: -len(ORIGIN_NAMES)])
    for what in ("channel_names", "grid_shape", "boundary", "scalar_names"):
        found, wanted = getattr(theirs, what), getattr(ours, what)
        if found != wanted:
            raise DataError(f"{source}: {what} is {found}; the emulator was trained on {wanted}.")


def write_forecast(plan: Plan, file: Path, *, batch_size: int, progress: Progress) -> None:
    """Streams the forecast to `file`, which appears when it is complete: initial frames, then forecast steps."""
    n_input, n = plan.model.n_steps_input, plan.source.n_trajectories
    done, total = 0, n * plan.n_steps
    file.parent.mkdir(parents=True, exist_ok=True)
    with well_file(file, plan.spec, n_trajectories=n * plan.n_members, n_steps=n_input + plan.n_steps) as writer:
        for first in range(0, n, batch_size):
            numbers = range(first, min(first + batch_size, n))
            written = n_input
            for window in _windows(plan, writer, numbers):
                for row, number in enumerate(numbers):
                    for member in range(plan.n_members):
                        writer.write(number * plan.n_members + member, window[row, member], written)
                written += window.shape[2]
                done += window.shape[2] * len(numbers)
                progress(done, total)


def _windows(plan: Plan, writer: WellWriter, numbers: range) -> Iterator[np.ndarray]:
    """Writes what is known of the trajectories and yields their forecast, `(B, M, t, *S, C)`."""
    model, source = plan.model, plan.source
    stop = (model.n_steps_input - 1) * model.stride + 1
    initial = np.stack([source.read(i, 0, stop, model.stride) for i in numbers])
    scalars = np.stack([source.scalars(i)[: model.spec.n_scalars] for i in numbers])
    constant = [fields for i in numbers if (fields := source.constant_fields(i)) is not None]
    for row, number in enumerate(numbers):
        for member in range(plan.n_members):
            place = number * plan.n_members + member
            writer.write(place, initial[row])
            writer.write_scalars(place, [*scalars[row].tolist(), number, member])
            if constant:
                writer.write_constant_fields(place, constant[row])
    windows = model.forecast(
        _tensor(initial, model),
        plan.n_steps,
        n_members=plan.n_members,
        seed=plan.seed,
        trajectory=list(numbers),
        scalars=_tensor(scalars, model) if scalars.size else None,
        constant_fields=_tensor(np.stack(constant), model) if constant else None,
    )
    return (window.float().cpu().numpy() for window in windows)


def _tensor(values: np.ndarray, model: EncoderProcessorDecoder) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(model.device)
