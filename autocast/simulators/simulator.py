"""What every simulator has in common: seeds in, trajectories out; arrays, never files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from autocast.errors import ConfigError, DataError
from autocast.layout import frames_to_images, images_to_frames
from autocast.types import PERIODIC

# Chunks of this many points were fastest on a CPU: eight trajectories of 128 x 128 stay in its caches, 32 cost 1.4
# times more each.
POINTS_PER_CHUNK = 4 * 128 * 128

Progress = Callable[[int], None]
"""Called now and then with the number of frames (of one trajectory each) finished since the last call."""


@runtime_checkable
class Stepper(Protocol):
    """One equation on one grid for a batch of trajectories; the state is the stepper's own business."""

    def start(self, fields: Tensor) -> Tensor:
        """`(B, C, *S)` to a state."""

    def step(self, state: Tensor) -> Tensor: ...

    def fields(self, state: Tensor) -> Tensor:
        """A state to `(B, C, *S)`."""


@dataclass(frozen=True)
class Rejection:
    """A trajectory that cannot be used, and why."""

    index: int
    """Its row among the seeds that were asked for."""
    seed: int
    frame: int
    """The first frame that is not finite."""
    message: str


@dataclass(frozen=True)
class Trajectories:
    """Simulated trajectories, one row for each seed, rejected ones included: look at `rejected` before using them."""

    fields: Tensor
    """`(B, T, *S, C)` float32 on the CPU; not a number from the failing frame on where a trajectory was rejected."""
    scalars: Tensor
    """`(B, K)` float32"""
    rejected: list[Rejection] = field(default_factory=list)

    def check(self) -> Trajectories:
        """Itself, if nothing was rejected.

        Raises:
            DataError: Some trajectories were rejected; all of them are named.
        """
        if self.rejected:
            raise DataError("\n".join(rejection.message for rejection in self.rejected))
        return self


class Simulator(ABC):
    """A partial differential equation, its random initial fields and scalars, and the times at which it is recorded.

    Trajectory b depends on `seeds[b]` alone, whatever batch it is in, to rounding. A subclass draws initial fields and
    scalars (`draw`) and knows its equation (`stepper`).
    """

    channel_names: ClassVar[tuple[str, ...]]
    units: ClassVar[tuple[str, ...]]
    scalar_names: tuple[str, ...] = ()
    continues_from_frames: ClassVar[bool] = False
    """Whether the channels and the scalars are all that the equation needs to go on from any recorded frame."""

    def __init__(
        self,
        *,
        grid_shape: Sequence[int],
        extent: Sequence[float],
        n_frames: int,
        time_step: float,
        n_substeps: int,
        burn_in: float = 0.0,
        precision: str = "float64",
    ) -> None:
        """
        Args:
            grid_shape: Points of each axis; periodic, so the end point is not one of them.
            extent: Period of each axis.
            n_frames: Recorded frames of a trajectory, the first included.
            time_step: Time between two recorded frames.
            n_substeps: Steps of the solver between two recorded frames.
            burn_in: Time from the drawn initial fields to the first recorded frame.
            precision: "float32" or "float64", of the solver; frames are float32 always.
        """
        _check_choices(grid_shape, extent, n_frames, time_step, n_substeps, burn_in, precision)
        self.grid_shape = tuple(grid_shape)
        self.extent = tuple(float(length) for length in extent)
        self.n_frames = n_frames
        self.time_step = float(time_step)
        self.n_substeps = n_substeps
        self.burn_in = float(burn_in)
        self.precision = precision

    @abstractmethod
    def draw(self, rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The initial fields `(*S, C)` and the scalars `(K,)` of one trajectory; `rng` is already seeded."""

    @abstractmethod
    def stepper(self, scalars: Tensor, dtype: torch.dtype) -> Stepper:
        """The equation for trajectories with `scalars` `(B, K)` float64, on the device of `scalars`; one row of scalars
        serves any number of trajectories.
        """

    @property
    def dt(self) -> float:
        """The solver's step."""
        return self.time_step / self.n_substeps

    def describe(self) -> dict[str, Any]:
        """What a data set of these trajectories has to record, in plain Python values."""
        axes = len(self.grid_shape)
        return {
            "channel_names": self.channel_names,
            "units": self.units,
            "dim_names": ("x", "y", "z")[:axes],
            "grid_shape": self.grid_shape,
            "extent": self.extent,
            "boundary": (PERIODIC,) * axes,
            "time_step": self.time_step,
            "n_frames": self.n_frames,
            "scalar_names": self.scalar_names,
        }

    @torch.no_grad()
    def simulate(
        self,
        seeds: Sequence[int],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        progress: Progress | None = None,
    ) -> Trajectories:
        """One trajectory for each seed.

        Args:
            seeds: Integers from 0. Those that follow each other give a balanced design where a simulator cycles
                through cases.
            device: Where to compute, and to keep all frames meanwhile; the result is on the CPU.
            dtype: Of the solver; `precision` unless given.
            progress: Told how many frames were finished since it was last told.
        """
        device = torch.device(device)
        size = POINTS_PER_CHUNK // int(np.prod(self.grid_shape)) if device.type == "cpu" else len(seeds)
        initial, scalars = self._draw_all(seeds)
        shape = (len(seeds), self.n_frames, *self.grid_shape, len(self.channel_names))
        fields = torch.empty(shape, device=device)  # a GPU that keeps its frames is never waited for
        # equal scalars side by side: a chunk with the same equation throughout is up to a fifth cheaper
        order = sorted(range(len(seeds)), key=lambda i: scalars[i].tolist())
        for start in range(0, len(seeds), max(1, size)):
            rows = order[start : start + max(1, size)]
            places = torch.tensor(rows, device=device)
            for t, frame in enumerate(self._frames(initial[rows].to(device), scalars[rows].to(device), dtype)):
                fields[places, t] = frame.to(fields)
                if progress is not None:
                    progress(len(rows))
        return Trajectories(fields.cpu(), scalars.float(), self._rejections(seeds, fields))

    def _draw_all(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The initial fields `(B, *S, C)` and the scalars `(B, K)`, both float64."""
        drawn = [self.draw(np.random.default_rng(seed), seed) for seed in seeds]
        fields, scalars = (torch.from_numpy(np.stack(arrays).astype(np.float64)) for arrays in zip(*drawn, strict=True))
        return fields, scalars

    def _frames(self, initial: Tensor, scalars: Tensor, dtype: torch.dtype | None) -> Iterator[Tensor]:
        """Frames `(B, *S, C)` from initial fields `(B, *S, C)`."""
        dtype = dtype or getattr(torch, self.precision)
        stepper = self.stepper(scalars[:1] if (scalars == scalars[:1]).all() else scalars, dtype)
        state = stepper.start(frames_to_images(initial[:, None].to(dtype)))
        for _ in range(round(self.burn_in / self.dt)):
            state = stepper.step(state)
        for t in range(self.n_frames):
            for _ in range(self.n_substeps if t > 0 else 0):
                state = stepper.step(state)
            yield images_to_frames(stepper.fields(state), 1)[:, 0]

    def _rejections(self, seeds: Sequence[int], fields: Tensor) -> list[Rejection]:
        """Every trajectory that has a value that is not finite."""
        finite = torch.stack([trajectory.flatten(1).isfinite().all(dim=1) for trajectory in fields.unbind()])
        return [
            Rejection(i, seeds[i], frame, self._blame(seeds[i], frame))
            for i, frame in ((i, int(finite[i].int().argmin())) for i in range(len(seeds)) if not finite[i].all())
        ]

    def _blame(self, seed: int, frame: int) -> str:
        first = round(self.burn_in / self.dt)
        last = first + frame * self.n_substeps
        return (
            f"{type(self).__name__}: the trajectory of seed {seed} is not finite at frame {frame} of {self.n_frames} "
            f"(time {frame * self.time_step:g}, solver step {last}, step size {self.dt:g}). "
            f"Take smaller steps (n_substeps > {self.n_substeps}), a finer grid_shape than {list(self.grid_shape)}, "
            "or milder parameters."
        )


def _check_choices(
    grid_shape: Sequence[int],
    extent: Sequence[float],
    n_frames: int,
    time_step: float,
    n_substeps: int,
    burn_in: float,
    precision: str,
) -> None:
    """Raise a `ConfigError` that names every choice that cannot be used."""
    cases = {
        f"grid_shape {list(grid_shape)}: one to three axes of at least 4 points": not (
            1 <= len(grid_shape) <= 3 and min(grid_shape) >= 4
        ),
        f"extent {list(extent)}: one positive length for each of the {len(grid_shape)} axes of grid_shape": (
            len(extent) != len(grid_shape) or min(extent) <= 0
        ),
        f"n_frames {n_frames}: at least 1": n_frames < 1,
        f"time_step {time_step}: more than 0": time_step <= 0,
        f"n_substeps {n_substeps}: at least 1": n_substeps < 1,
        f"burn_in {burn_in}: at least 0": burn_in < 0,
        f"precision {precision}: float32 or float64": precision not in ("float32", "float64"),
    }
    problems = [message for message, wrong in cases.items() if wrong]
    if problems:
        raise ConfigError("This simulator cannot be built. Accepted is\n  " + "\n  ".join(problems))
