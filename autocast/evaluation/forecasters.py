"""What an evaluation rolls out, all alike: the model, the baselines, the truth through the autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from autocast.evaluation.baselines import Step
from autocast.evaluation.memory import rows_that_fit
from autocast.evaluation.stopwatch import Stopwatch
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.rollout import rollout

Forecaster = Callable[[TrajectoryBatch], Iterator[Tensor]]
"""From a batch to windows `(B, M, t, *S, C)` in physical units, as many steps in all as the batch's truth has."""


class Forecasts(Protocol):
    """What an evaluation asks of a model."""

    n_steps_input: int
    n_steps_output: int
    stride: int
    """Frames of the data from one step to the next."""
    reconstructs: bool
    """Whether a "forecast" is the truth encoded and decoded: an autoencoder alone."""

    @property
    def deterministic(self) -> bool: ...

    @property
    def n_solver_steps(self) -> int:
        """Of one window's forecast."""

    def compile_forecasts(self, mode: str | None) -> None:
        """From now on what is solved for a forecast is compiled, or not if None; the mode is one of `torch.compile`."""

    def forecast(self, x: Tensor, n_steps: int, **known: Any) -> Iterator[Tensor]: ...

    def reconstruct(self, x: Tensor) -> Tensor: ...


@dataclass
class ModelForecaster:
    """One seeded rollout of a model for each batch, and the time that it takes.

    Args:
        model: What is evaluated.
        n_members: Members of a forecast that is not deterministic.
        seed: Of the draws, together with the trajectory's and the member's number.
        device: Of the model.
        max_rows: Trajectories times members in a model call at most.
        compiled: Whether its forecasts are.
    """

    model: Forecasts
    n_members: int
    seed: int
    device: torch.device
    max_rows: int | None = None
    compiled: bool = False
    stopwatch: Stopwatch = field(init=False)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.device)

    def __call__(self, batch: TrajectoryBatch) -> Iterator[Tensor]:
        return self.stopwatch.timed(self.windows(batch, batch.n_steps), batch.numbers[0])

    def windows(self, batch: TrajectoryBatch, n_steps: int) -> Iterator[Tensor]:
        """The same windows as a call's, of a rollout of any length and not timed."""
        return self.model.forecast(
            batch.initial.to(self.device),
            n_steps,
            n_members=self.n_members,
            seed=self.seed,
            trajectory=torch.tensor(batch.numbers),
            scalars=None if batch.scalars is None else batch.scalars.to(self.device),
            constant_fields=None if batch.constant_fields is None else batch.constant_fields.to(self.device),
            truth=batch.truth,
            max_rows=self.max_rows,
        )

    def timing(self) -> dict[str, Any]:
        """How long the model took, compilation included and scoring not."""
        return {
            "seconds": self.stopwatch.seconds,
            "seconds_per_step_and_member": self.stopwatch.seconds_per_step,
            "device": self.device.type,
            "compiled": self.compiled,
        }


def rows_per_call(
    model: Forecasts,
    opening: Callable[[int, int], TrajectoryBatch],
    device: torch.device,
    gigabytes: float | None = None,
) -> int:
    """Trajectories times members that a model call has memory for; see `rows_that_fit`.

    Args:
        model: In evaluation mode, on `device`.
        opening: A batch, from its number of rows and of steps to forecast.
        device: Of the model.
        gigabytes: For the tensors of a call.
    """
    forecast = ModelForecaster(model, 1, 0, device)
    budget = None if gigabytes is None else 1e9 * gigabytes
    return rows_that_fit(lambda n_rows: next(forecast(opening(n_rows, model.n_steps_output))), device, budget)


def baseline_forecaster(step: Step) -> Forecaster:
    """Rolls out a baseline; its only member is axis 1."""

    def forecast(batch: TrajectoryBatch) -> Iterator[Tensor]:
        return (window.unsqueeze(1) for window in rollout(step, batch.initial, batch.n_steps))

    return forecast


def reconstruction_forecaster(model: Forecasts, device: torch.device) -> Forecaster:
    """The truth through the autoencoder, in windows of the model's output steps; the last one may be shorter."""

    def forecast(batch: TrajectoryBatch) -> Iterator[Tensor]:
        for truth in batch.truth.split(model.n_steps_output, dim=1):
            yield model.reconstruct(truth.to(device)).unsqueeze(1)

    return forecast
