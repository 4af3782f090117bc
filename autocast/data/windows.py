"""Windows over trajectories, and how a batch of them is read at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from autocast.data.trajectories import Trajectories, check_finite
from autocast.errors import DataError
from autocast.types import Batch


@dataclass(frozen=True)
class Steps:
    """The shape of a window in time."""

    n_input: int
    n_output: int
    """Steps that a model forecasts at once."""
    stride: int = 1
    """Frames from one step of the window to the next."""
    n_windows: int = 1
    """How often the output is read, one after the other."""

    @property
    def n_read(self) -> int:
        """Steps in all."""
        return self.n_input + self.n_windows * self.n_output

    @property
    def span(self) -> int:
        """Frames of a trajectory that a window reaches over."""
        return self.stride * (self.n_read - 1) + 1


class FrameStore(ABC):
    """Where the frames of a batch come from."""

    @abstractmethod
    def read(self, trajectories: Tensor, starts: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
        """`(B, Ti, *S, C)` and `(B, To, *S, C)`, both contiguous, of the windows at `(trajectory, start)`."""

    @abstractmethod
    def move_to(self, device: torch.device) -> None:
        """Where frames that are in memory are to be from now on."""


class MemoryStore(FrameStore):
    """All frames of a split in one tensor; a batch is an `index_select`."""

    def __init__(self, trajectories: Trajectories):
        n_steps = [trajectories.n_steps(i) for i in range(trajectories.n_trajectories)]
        self._offsets = torch.tensor([0, *np.cumsum(n_steps)])
        spec = trajectories.spec
        self._frames = torch.empty((sum(n_steps), *spec.grid_shape, spec.n_channels))
        for i, n in enumerate(n_steps):
            frames = trajectories.read(i, 0, n)
            check_finite(frames, trajectories, i, 0)
            self._frames[self._offsets[i] : self._offsets[i] + n] = torch.from_numpy(frames)

    def move_to(self, device: torch.device) -> None:
        self._frames = self._frames.to(device)

    def read(self, trajectories: Tensor, starts: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
        first = self._offsets[trajectories] + starts
        rows = first[:, None] + steps.stride * torch.arange(steps.n_read)
        return self._select(rows[:, : steps.n_input]), self._select(rows[:, steps.n_input :])

    def _select(self, rows: Tensor) -> Tensor:
        places = rows.flatten().to(self._frames.device, non_blocking=True)
        return self._frames.index_select(0, places).unflatten(0, rows.shape)


class DiskStore(FrameStore):
    """Windows read one by one from files that stay open."""

    def __init__(self, trajectories: Trajectories):
        self._trajectories = trajectories

    def move_to(self, device: torch.device) -> None:
        """Nothing of it is in memory."""

    def read(self, trajectories: Tensor, starts: Tensor, steps: Steps) -> tuple[Tensor, Tensor]:
        places = zip(trajectories.tolist(), starts.tolist(), strict=True)
        windows = [torch.from_numpy(self._read(i, start, steps)) for i, start in places]
        inputs = torch.stack([window[: steps.n_input] for window in windows])
        return inputs, torch.stack([window[steps.n_input :] for window in windows])

    def _read(self, i: int, start: int, steps: Steps) -> np.ndarray:
        window = self._trajectories.read(i, start, start + steps.span, steps.stride)
        check_finite(window, self._trajectories, i, start, steps.stride)
        return window


class WindowDataset(Dataset[Batch]):
    """All windows of a split: file after file, trajectory after trajectory, start after start, as in The Well.

    For the loader, the item of a list of indices is the whole `Batch`, in physical units.
    """

    def __init__(
        self, trajectories: Trajectories, steps: Steps, *, in_memory: bool = False, batch_type: type[Batch] = Batch
    ):
        self.trajectories = trajectories
        self.steps = steps
        self.batch_type = batch_type
        self._ends = np.cumsum([self._n_windows(i) for i in range(trajectories.n_trajectories)])
        self._store: FrameStore = (MemoryStore if in_memory else DiskStore)(trajectories)
        self._constants = _Constants(trajectories)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def move_to(self, device: torch.device) -> None:
        """Where the fields of batches are to be, if they are read from memory."""
        self._store.move_to(device)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        return self.batch(indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The windows of these indices, read at once."""
        trajectories, starts = self.locate(indices)
        input_fields, output_fields = self._store.read(trajectories, starts, self.steps)
        return self.batch_type(
            input_fields,
            output_fields,
            scalars=self._constants.scalars(trajectories),
            constant_fields=self._constants.fields(trajectories),
            trajectory=trajectories,
            start=starts,
        )

    def locate(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Trajectory and first frame of each window: `(B,)`, `(B,)`."""
        index = np.asarray(indices)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"windows {index.min()} to {index.max()} of {len(self)}")
        trajectory = np.searchsorted(self._ends, index, side="right")
        first = np.concatenate(([0], self._ends))[trajectory]
        return torch.from_numpy(trajectory), torch.from_numpy(index - first)

    def _n_windows(self, i: int) -> int:
        n_steps, steps = self.trajectories.n_steps(i), self.steps
        if n_steps < steps.span:
            unrolled = f" in {steps.n_windows} windows" if steps.n_windows > 1 else ""
            keys = "datamodule.n_steps_input, datamodule.n_steps_output or datamodule.stride"
            raise DataError(
                f"data set {self.trajectories.spec.dataset_name}: {self.trajectories.name(i)} has {n_steps} frames; "
                f"{steps.n_input} input and {steps.n_output} output steps{unrolled} with stride {steps.stride} need "
                f"{steps.span}. Give smaller {'training.n_windows, ' if unrolled else ''}{keys}."
            )
        return n_steps - steps.span + 1


class _Constants:
    """Scalars of all trajectories in memory; constant fields too where they are small."""

    MAX_FIELD_BYTES = 2**28

    def __init__(self, trajectories: Trajectories):
        spec, n = trajectories.spec, trajectories.n_trajectories
        self._trajectories = trajectories
        self._scalars = self._stack(trajectories.scalars, range(n)) if spec.n_scalars else None
        n_bytes = 4 * n * int(np.prod(spec.grid_shape)) * spec.n_constant_fields
        self._fields = (
            self._stack(trajectories.constant_fields, range(n)) if 0 < n_bytes <= self.MAX_FIELD_BYTES else None
        )

    def scalars(self, trajectories: Tensor) -> Tensor | None:
        return None if self._scalars is None else self._scalars[trajectories]

    def fields(self, trajectories: Tensor) -> Tensor | None:
        if self._fields is not None:
            return self._fields[trajectories]
        if not self._trajectories.spec.n_constant_fields:
            return None
        return self._stack(self._trajectories.constant_fields, trajectories.tolist())

    @staticmethod
    def _stack(read: Callable[[int], np.ndarray | None], rows: Iterable[int]) -> Tensor:
        values = [value for value in map(read, rows) if value is not None]
        return torch.from_numpy(np.stack(values))
