"""Keeps the rollouts that were scored, in The Well's layout: every member is a trajectory of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from autocast.data.well_writer import WellWriter, create_well_file
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.metrics.terms import Window
from autocast.types import FieldSpec

ROLLOUTS_FILE = "rollouts.hdf5"
ORIGIN_NAMES = ("forecast_trajectory", "forecast_member")
"""Scalars that say of which trajectory of the split, and which member, a forecast is."""


class RolloutRecorder:
    """Writes rollouts window by window; the initial frames come before the forecast."""

    def __init__(self, writer: WellWriter, *, n_members: int, n_steps_input: int, n_steps: int):
        self._writer = writer
        self._n_members = n_members
        self._n_steps_input = n_steps_input
        self._n_steps = n_steps

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        """Writes a window whose first frame has lead time `start + 1`."""
        forecast = window.member.forecast.float().cpu().numpy()
        for row, number in enumerate(batch.numbers):
            for member in range(self._n_members):
                place = number * self._n_members + member
                if start == 0:
                    self._begin(place, batch, row, member)
                self._writer.write(place, forecast[row, member], self._n_steps_input + start)

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:  # noqa: ARG002
        """Nothing: what was written is in the file, where a killed process cannot lose it."""
        self._writer.flush()
        return {}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing: it is in the file."""

    def _begin(self, place: int, batch: TrajectoryBatch, row: int, member: int) -> None:
        """What is known before the forecast; frames that a shorter trajectory does not have are nan."""
        self._writer.write(place, batch.initial[row].numpy())
        missing = self._n_steps - batch.n_steps
        if missing:
            nothing = np.full((missing, *batch.truth.shape[2:]), np.nan, np.float32)
            self._writer.write(place, nothing, self._n_steps_input + batch.n_steps)
        scalars = [] if batch.scalars is None else batch.scalars[row].tolist()
        self._writer.write_scalars(place, [*scalars, batch.numbers[row], member])
        if batch.constant_fields is not None:
            self._writer.write_constant_fields(place, batch.constant_fields[row].numpy())


@contextmanager
def recorded_rollouts(
    file: Path, spec: FieldSpec, *, lengths: Sequence[int], n_members: int, n_steps_input: int, unfinished: Path
) -> Iterator[RolloutRecorder]:
    """A recorder of `file`, which appears when the rollouts are complete; until then it is `unfinished`, which may have
    been begun before.
    """
    n_steps = max(lengths)
    recorded = dataclasses.replace(spec, scalar_names=(*spec.scalar_names, *ORIGIN_NAMES))
    if not unfinished.is_file():
        laid_out = unfinished.with_name(f".{unfinished.name}.{os.getpid()}")
        create_well_file(laid_out, recorded, n_trajectories=len(lengths) * n_members, n_steps=n_steps_input + n_steps)
        laid_out.replace(unfinished)
    with WellWriter(unfinished, recorded) as writer:
        yield RolloutRecorder(writer, n_members=n_members, n_steps_input=n_steps_input, n_steps=n_steps)
    unfinished.replace(file)
