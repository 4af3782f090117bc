"""Forecasts by the simulator that made the data, on a coarser grid: what less computing buys without an emulator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from autocast.evaluation.stopwatch import Stopwatch
from autocast.evaluation.trajectory_batches import TrajectoryBatch
from autocast.simulators.continuation import continued
from autocast.simulators.resampling import coarsen, refine
from autocast.simulators.simulator import Simulator
from autocast.types import FieldSpec


class SimulatorForecaster:
    """Goes on from the last input frame with the trajectory's own scalars; its only member is axis 1.

    Args:
        simulator: That of the data, on its grid or a coarser one.
        spec: Of the data.
        stride: Frames of the data from one step to the next.
        n_steps_output: Steps of a window.
        device: Where it computes.
    """

    def __init__(
        self, simulator: Simulator, spec: FieldSpec, *, stride: int, n_steps_output: int, device: torch.device
    ):
        self.simulator = simulator
        self.spec = spec
        self.stride = stride
        self.n_steps_output = n_steps_output
        self.device = device
        self.stopwatch = Stopwatch(device)

    def __call__(self, batch: TrajectoryBatch) -> Iterator[Tensor]:
        """Windows `(B, 1, t, *S, C)` float32, in all as many steps as the truth has."""
        return self.stopwatch.timed(self._windows(batch), batch.numbers[0])

    def timing(self) -> dict[str, float]:
        """How long it took, both changes of grid included and scoring not."""
        return {"seconds": self.stopwatch.seconds, "seconds_per_step": self.stopwatch.seconds_per_step}

    def _windows(self, batch: TrajectoryBatch) -> Iterator[Tensor]:
        start = batch.initial[:, -1].to(self.device, getattr(torch, self.simulator.precision))
        start = coarsen(start, self.simulator.grid_shape, self.spec.periodic)
        frames = continued(self.simulator, start, self._scalars(batch), stride=self.stride)
        for n_done in range(0, batch.n_steps, self.n_steps_output):
            n = min(self.n_steps_output, batch.n_steps - n_done)
            window = torch.stack(list(itertools.islice(frames, n)), dim=1)
            yield refine(window, self.spec.grid_shape, self.spec.periodic).float().unsqueeze(1)

    def _scalars(self, batch: TrajectoryBatch) -> Tensor:
        """`(B, K)`, in the simulator's order."""
        if batch.scalars is None:
            return torch.empty(len(batch.numbers), 0, device=self.device)
        order = [self.spec.scalar_names.index(name) for name in self.simulator.scalar_names]
        return batch.scalars[:, order].to(self.device)
