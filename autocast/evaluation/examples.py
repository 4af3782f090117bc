"""Keeps whole forecasts of a few trajectories, for pictures and videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from autocast.evaluation.result import Example
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.metrics.terms import Window

N_MEMBERS_KEPT = 4
ARRAYS = ("initial", "truth", "members", "mean", "spread")
"""Of an example."""


def chosen_trajectories(batch_indices: Sequence[int], batch_size: int, n_trajectories: int) -> list[int]:
    """The trajectories of these batches of `batch_size` consecutive ones, as far as they exist."""
    chosen = [i for index in batch_indices for i in range(index * batch_size, (index + 1) * batch_size)]
    return [i for i in dict.fromkeys(chosen) if i < n_trajectories]


class ExampleCollector:
    """Examples of the chosen trajectories, filled window by window.

    Args:
        trajectories: The chosen ones.
        scalar_names: Of the data.
        on_complete: Told of every example when it is filled to its end, or was put.
    """

    def __init__(
        self,
        trajectories: Sequence[int],
        *,
        scalar_names: Sequence[str] = (),
        on_complete: Callable[[Example], None] | None = None,
    ):
        self._chosen = list(trajectories)
        self._scalar_names = scalar_names
        self._on_complete = on_complete
        self._examples: dict[int, Example] = {}

    def add(self, batch: TrajectoryBatch, start: int, window: Window) -> None:
        """Keeps what a window whose first frame has lead time `start + 1` shows of the chosen trajectories."""
        for row, number in enumerate(batch.numbers):
            if number in self._chosen:
                if number not in self._examples:
                    self._examples[number] = self._empty(batch, row, window.n_members)
                forecast = window.member.forecast[row]
                _fill(self._examples[number], start, forecast)
                if start + forecast.shape[1] == batch.n_steps:
                    self._complete(number)

    def take(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """The arrays of those of these trajectories that are kept."""
        found = {number: self._examples[number] for number in numbers if number in self._examples}
        return {
            f"{number}/{name}": getattr(example, name)
            for number, example in found.items()
            for name in ARRAYS
            if getattr(example, name) is not None
        } | {f"{number}/scalars": np.array(list(example.scalars.values())) for number, example in found.items()}

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""
        for number in sorted(set(numbers) & set(self._chosen)):
            fields: dict[str, Any] = {
                name: arrays[f"{number}/{name}"] for name in ARRAYS if f"{number}/{name}" in arrays
            }
            scalars = dict(zip(self._scalar_names, arrays[f"{number}/scalars"].tolist(), strict=True))
            self._examples[number] = Example(trajectory=number, scalars=scalars, **fields)
            self._complete(number)

    def finish(self, scores: dict[int, float]) -> list[Example]:
        """The examples in the order in which they were chosen, with these scores."""
        found = [self._examples[number] for number in self._chosen if number in self._examples]
        return [Example(**{**vars(each), "score": scores.get(each.trajectory)}) for each in found]

    def _complete(self, number: int) -> None:
        if self._on_complete is not None:
            self._on_complete(self._examples[number])

    def _empty(self, batch: TrajectoryBatch, row: int, n_members: int) -> Example:
        truth = batch.truth[row].numpy()
        scalars = [] if batch.scalars is None else batch.scalars[row].tolist()
        return Example(
            trajectory=batch.numbers[row],
            initial=batch.initial[row].numpy().copy(),
            truth=truth.copy(),
            members=np.full((min(n_members, N_MEMBERS_KEPT), *truth.shape), np.nan, np.float32),
            mean=np.full(truth.shape, np.nan, np.float32),
            spread=np.full(truth.shape, np.nan, np.float32) if n_members > 1 else None,
            scalars=dict(zip(self._scalar_names, scalars, strict=True)),
        )


def _fill(example: Example, start: int, forecast: torch.Tensor) -> None:
    """Puts `(M, t, *S, C)` into the arrays of an example."""
    steps = slice(start, start + forecast.shape[1])
    example.members[:, steps] = forecast[:N_MEMBERS_KEPT].cpu().numpy()
    example.mean[steps] = forecast.mean(0).cpu().numpy()
    if example.spread is not None:
        example.spread[steps] = forecast.std(0).cpu().numpy()
