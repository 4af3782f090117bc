"""The sizes of an evaluation, found before anything is rolled out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from autocast.data.trajectories import Trajectories
from autocast.evaluation.examples import chosen_trajectories
from autocast.evaluation.forecasters import Forecasts, rows_per_call
from autocast.evaluation.settings import EvaluationSettings, lead_windows
from autocast.evaluation.trajectory_batches import TestTrajectories
from autocast.metrics.registry import Metric, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import SpectrumStream, TermStream
from autocast.types import FieldSpec

HEADLINE_METRICS = ("vrmse", "spread", "skill", "ssr", "coverage")
"""Measured for the verdict and the report whatever is asked for; the CSV files hold what is asked for."""
N_SPECTRA = 4
MOST_STRESSED = 16
"""Trajectories from which long rollouts start."""


class EvaluationData(Protocol):
    """What an evaluation asks of a data module."""

    batch_size: int

    @property
    def spec(self) -> FieldSpec: ...

    @property
    def digest(self) -> str: ...

    def split(self, name: str) -> Trajectories: ...


@dataclass(frozen=True)
class Plan:
    """What is rolled out, and what is kept of it."""

    settings: EvaluationSettings
    spec: FieldSpec
    """Its time step is that of the rollout."""
    test: TestTrajectories
    lengths: list[int]
    """Steps that each trajectory is scored for."""
    n_members: int
    batch_size: int
    """Trajectories that are rolled out together."""
    max_rows: int
    """Trajectories times members in a model call."""
    examples: list[int]
    """Trajectories that are kept whole."""
    notes: list[str]
    """What is not as asked for, without being an error."""
    split: str = "test"
    """"valid" where a calibration is fitted."""

    @property
    def n_trajectories(self) -> int:
        return len(self.lengths)

    @property
    def n_steps(self) -> int:
        return max(self.lengths)

    @property
    def stress_trajectories(self) -> range:
        """Those that are rolled out far beyond the data; none where that is not asked for."""
        return range(min(self.n_trajectories, MOST_STRESSED) if self.settings.stress else 0)

    @property
    def n_rollouts(self) -> int:
        """Trajectories to be rolled out, those beyond the data once more."""
        return self.n_trajectories + len(self.stress_trajectories)

    @property
    def sizes(self) -> dict[str, int]:
        return {"n_trajectories": self.n_trajectories, "n_steps": self.n_steps, "n_members": self.n_members}

    @property
    def grid(self) -> Grid:
        return Grid(self.spec.grid_shape, self.spec.extent)

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        return lead_windows(self.settings.windows, self.n_steps)

    @property
    def metrics(self) -> list[Metric]:
        return resolve_metrics([*self.settings.metrics, *HEADLINE_METRICS])

    @property
    def spectrum_leads(self) -> list[int]:
        return sorted({round(lead) for lead in np.geomspace(1, self.n_steps, N_SPECTRA)})

    def term_stream(self, n_members: int) -> TermStream:
        return TermStream(
            self.metrics, n_members=n_members, lengths=self.lengths, n_channels=self.spec.n_channels, grid=self.grid
        )

    def spectrum_stream(self) -> SpectrumStream:
        return SpectrumStream(
            self.spectrum_leads, n_trajectories=self.n_trajectories, n_channels=self.spec.n_channels, grid=self.grid
        )


def make_plan(
    model: Forecasts,
    datamodule: EvaluationData,
    settings: EvaluationSettings,
    device: torch.device,
    split: str = "test",
) -> Plan:
    """What an evaluation of this model on a split will do.

    A deterministic model has one member; a reconstruction, which has seen the truth, has no baselines. How much goes
    into a model call is measured on a window of the first trajectory.
    """
    if model.reconstructs:
        settings = dataclasses.replace(settings, baselines=())
    test = TestTrajectories.of(model, datamodule.split(split), settings.n_steps)
    lengths = test.lengths
    n_members = 1 if model.deterministic else settings.n_members
    max_rows = settings.max_rows or rows_per_call(model, test.opening, device, settings.memory_limit)
    batch_size = max(1, min(settings.batch_size or datamodule.batch_size, max_rows // n_members))
    chosen = chosen_trajectories(settings.batch_indices, datamodule.batch_size, len(lengths))
    notes = _notes(settings, lengths, len(chosen), n_batches=-(-len(lengths) // datamodule.batch_size))
    kept = chosen[: settings.max_videos]
    spec = dataclasses.replace(datamodule.spec, time_step=datamodule.spec.time_step * model.stride)
    return Plan(settings, spec, test, lengths, n_members, batch_size, max_rows, kept, notes, split)


def _notes(settings: EvaluationSettings, lengths: list[int], n_chosen: int, n_batches: int) -> list[str]:
    notes = []
    if settings.n_steps is not None and min(lengths) < settings.n_steps:
        notes.append(f"eval.n_steps={settings.n_steps}: the shortest trajectory ends after {min(lengths)} steps.")
    if n_chosen > settings.max_videos:
        notes.append(f"{settings.max_videos} of {n_chosen} chosen trajectories get videos (eval.max_videos).")
    missing = [index for index in settings.batch_indices if index >= n_batches]
    if missing:
        notes.append(f"eval.batch_indices: the test split has {n_batches} batches from 0, so none numbered {missing}.")
    return notes
