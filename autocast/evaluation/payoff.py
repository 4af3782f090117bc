"""Whether an emulator is worth its training: its rollout beside the simulator that made its data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from autocast.evaluation.cost import MIN_REPEATS, quartiles, time_calls

if TYPE_CHECKING:
    from autocast.simulators.simulator import Simulator

N_PROBED = 2
"""Frames of a first simulation, which tells how long one takes."""


@dataclass(frozen=True)
class Simulation:
    """How a trajectory was simulated."""

    make: Callable[[int], Simulator]
    """Its simulator without the burn-in, from a number of recorded frames."""
    seed: int


@dataclass(frozen=True)
class SimulatorCost:
    """What one trajectory takes its simulator."""

    name: str
    n_frames: int
    """Frames of the data after the first one, in a rollout's length."""
    n_timed: int
    """Of these; what a whole trajectory takes is in proportion."""
    seconds: float
    """Of a whole trajectory: the median over the repeats."""
    seconds_q1: float
    seconds_q3: float
    n_repeats: int


@dataclass(frozen=True)
class PayOff:
    """A model beside the simulator, by one trajectory."""

    simulator_seconds: float
    model_seconds: float
    training_seconds: float | None
    """None where the run has no record of it."""

    @property
    def speed_up(self) -> float:
        return self.simulator_seconds / self.model_seconds

    @property
    def is_faster(self) -> bool:
        return self.model_seconds < self.simulator_seconds

    @property
    def n_trajectories(self) -> int | None:
        """From which on training has taken less time than it saved; None: never, or not known."""
        if self.training_seconds is None or not self.is_faster:
            return None
        return math.ceil(self.training_seconds / (self.simulator_seconds - self.model_seconds))

    @property
    def verdict(self) -> str:
        if not self.is_faster:
            return "never: the model is slower than the simulator here"
        if self.n_trajectories is None:
            return "not known: the run has no record of how long its training took"
        return f"after {self.n_trajectories:,} {'trajectory' if self.n_trajectories == 1 else 'trajectories'}"


def measure_simulator(simulation: Simulation, *, n_frames: int, device: torch.device, seconds: float) -> SimulatorCost:
    """Times the simulation of one trajectory, from its initial fields on.

    Args:
        simulation: How it is made.
        n_frames: Frames after the first one.
        device: Where to compute.
        seconds: For all of it; if that is too little, a part of the trajectory is timed.
    """

    def call(n: int) -> Callable[[], object]:
        simulator = simulation.make(n + 1)
        return lambda: simulator.simulate([simulation.seed], device=device)

    n_probed = min(N_PROBED, n_frames)
    call(n_probed)()
    per_frame = time_calls(call(n_probed), device, 0)[0] / n_probed
    n_timed = max(1, min(n_frames, int(seconds / per_frame / MIN_REPEATS)))
    taken = time_calls(call(n_timed), device, seconds)
    first, median, third = (value * n_frames / n_timed for value in quartiles(taken))
    return SimulatorCost(type(simulation.make(1)).__name__, n_frames, n_timed, median, first, third, len(taken))
