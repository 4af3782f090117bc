"""Forecasts streamed to a file in The Well's layout: every member is a trajectory of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
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
from autocast.evaluation.memory import rows_that_fit
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
    """Streams the forecast to `file`, which appears when it is complete: initial frames, then forecast steps.

    Args:
        plan: What is forecast.
        file: Is replaced.
        batch_size: Trajectories that are forecast together at most; how many members go into a model call is measured.
        progress: Told of every window.
    """
    model, n = plan.model, plan.source.n_trajectories
    done, total = 0, n * plan.n_steps
    file.parent.mkdir(parents=True, exist_ok=True)
    max_rows = rows_that_fit(lambda rows: next(_forecast(plan, [0] * rows, n_members=1)), model.device)
    batch_size = max(1, min(batch_size, max_rows // plan.n_members))
    n_frames = model.n_steps_input + plan.n_steps
    with well_file(file, plan.spec, n_trajectories=n * plan.n_members, n_steps=n_frames) as writer:
        for first in range(0, n, batch_size):
            numbers = range(first, min(first + batch_size, n))
            _write_known(plan, writer, numbers)
            written = model.n_steps_input
            for window in _forecast(plan, numbers, n_members=plan.n_members, max_rows=max_rows):
                frames = window.float().cpu().numpy()
                for row, number in enumerate(numbers):
                    for member in range(plan.n_members):
                        writer.write(number * plan.n_members + member, frames[row, member], written)
                written += window.shape[2]
                done += window.shape[2] * len(numbers)
                progress(done, total)


def _write_known(plan: Plan, writer: WellWriter, numbers: Sequence[int]) -> None:
    """The initial frames of every member's trajectory, and what is constant in it."""
    for number in numbers:
        initial, scalars, constant = _initial(plan, number), _scalars(plan, number), plan.source.constant_fields(number)
        for member in range(plan.n_members):
            place = number * plan.n_members + member
            writer.write(place, initial)
            writer.write_scalars(place, [*scalars.tolist(), number, member])
            if constant is not None:
                writer.write_constant_fields(place, constant)


def _forecast(plan: Plan, numbers: Sequence[int], *, n_members: int, max_rows: int | None = None) -> Iterator[Tensor]:
    """Windows `(B, M, t, *S, C)` of the forecasts from these trajectories."""
    model = plan.model
    constant = [fields for i in numbers if (fields := plan.source.constant_fields(i)) is not None]
    return model.forecast(
        _tensor([_initial(plan, i) for i in numbers], model),
        plan.n_steps,
        n_members=n_members,
        seed=plan.seed,
        trajectory=list(numbers),
        scalars=_tensor([_scalars(plan, i) for i in numbers], model) if model.spec.n_scalars else None,
        constant_fields=_tensor(constant, model) if constant else None,
        max_rows=max_rows,
    )


def _initial(plan: Plan, number: int) -> np.ndarray:
    """`(Ti, *S, C)`"""
    stride = plan.model.stride
    return plan.source.read(number, 0, (plan.model.n_steps_input - 1) * stride + 1, stride)


def _scalars(plan: Plan, number: int) -> np.ndarray:
    """`(K,)` those that the emulator knows."""
    return plan.source.scalars(number)[: plan.model.spec.n_scalars]


def _tensor(values: Sequence[np.ndarray], model: EncoderProcessorDecoder) -> Tensor:
    return torch.from_numpy(np.stack(values).astype(np.float32)).to(model.device)
