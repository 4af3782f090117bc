"""Test trajectories in batches: initial frames, truth, and what is known beside them. All of it starts on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autocast.data.trajectories import Trajectories
from autocast.errors import DataError


@dataclass(frozen=True)
class TrajectoryBatch:
    """Some trajectories of a split, in physical units."""

    numbers: tuple[int, ...]
    """`(B,)` places in the split."""
    initial: Tensor
    """`(B, Ti, *S, C)`"""
    truth: Tensor
    """`(B, T, *S, C)` the frames to be forecast."""
    scalars: Tensor | None
    """`(B, K)`"""
    constant_fields: Tensor | None
    """`(B, *S, Cc)`"""

    def to(self, device: torch.device) -> TrajectoryBatch:
        move = {name: getattr(self, name) for name in ("initial", "truth", "scalars", "constant_fields")}
        return dataclasses.replace(self, **{name: x.to(device) for name, x in move.items() if x is not None})

    @property
    def n_steps(self) -> int:
        return self.truth.shape[1]


class StartsFromFrames(Protocol):
    """What of a model says how its rollouts start."""

    n_steps_input: int
    stride: int
    reconstructs: bool


def initial_steps(model: StartsFromFrames, trajectories: Trajectories) -> int:
    """Frames that a rollout starts from and that are not scored: none of pictures, each of which is one frame that can
    only be reconstructed."""
    are_pictures = all(trajectories.n_steps(i) == 1 for i in range(trajectories.n_trajectories))
    return 0 if model.reconstructs and are_pictures else model.n_steps_input


@dataclass(frozen=True)
class TestTrajectories:
    """A split as rollouts see it: every trajectory starts at its first frames and is forecast once.

    Args:
        trajectories: The split.
        n_steps_input: Initial frames.
        n_steps: Length of the rollouts; None is to the end of each trajectory.
        stride: Frames from one step to the next.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    trajectories: Trajectories
    n_steps_input: int
    n_steps: int | None = None
    stride: int = 1

    @classmethod
    def of(cls, model: StartsFromFrames, trajectories: Trajectories, n_steps: int | None = None) -> TestTrajectories:
        """A split as rollouts of a model see it."""
        return cls(trajectories, initial_steps(model, trajectories), n_steps, model.stride)

    @property
    def lengths(self) -> list[int]:
        """Steps that each trajectory can be scored for.

        Raises:
            DataError: If a trajectory has no frame to forecast.
        """
        lengths = [self._length(i) for i in range(self.trajectories.n_trajectories)]
        if not lengths:
            raise DataError("the test split has no trajectory: nothing can be scored.")
        if min(lengths) < 1:
            i = lengths.index(min(lengths))
            raise DataError(
                f"{self.trajectories.name(i)}: has {self.trajectories.n_steps(i)} frames, too few for "
                f"{self.n_steps_input} initial steps and one to forecast at stride {self.stride}."
            )
        return lengths if self.n_steps is None else [min(length, self.n_steps) for length in lengths]

    def groups(self, batch_size: int, without: Collection[int] = ()) -> list[list[int]]:
        """The trajectories but those `without`, in order, at most `batch_size` of the same length; each once."""
        lengths = self.lengths
        groups: list[list[int]] = []
        for i in (i for i in range(len(lengths)) if i not in without):
            if not groups or len(groups[-1]) == batch_size or lengths[groups[-1][0]] != lengths[i]:
                groups.append([])
            groups[-1].append(i)
        return groups

    def read(self, numbers: Sequence[int]) -> TrajectoryBatch:
        """Trajectories of the same length, as far as they are scored."""
        return self._read(numbers, self.lengths[numbers[0]])

    def opening(self, n_rows: int, n_steps: int) -> TrajectoryBatch:
        """The first trajectory `n_rows` times, and `n_steps` of it to forecast, if it has so many."""
        return self._read([0] * n_rows, min(n_steps, self.lengths[0]))

    def beginning(self, n_rows: int, n_steps: int) -> TrajectoryBatch:
        """The first trajectories, again from the first one where there are fewer than `n_rows`, and `n_steps` of each
        to forecast, which may be none."""
        return self._read([i % self.trajectories.n_trajectories for i in range(n_rows)], n_steps)

    def _length(self, i: int) -> int:
        return len(range(0, self.trajectories.n_steps(i), self.stride)) - self.n_steps_input

    def _read(self, numbers: Sequence[int], length: int) -> TrajectoryBatch:
        stop = (self.n_steps_input + length - 1) * self.stride + 1
        fields = _stack([self.trajectories.read(i, 0, stop, self.stride) for i in numbers])
        spec = self.trajectories.spec
        constant = [self.trajectories.constant_fields(i) for i in numbers] if spec.n_constant_fields else []
        return TrajectoryBatch(
            numbers=tuple(numbers),
            initial=fields[:, : self.n_steps_input],
            truth=fields[:, self.n_steps_input :],
            scalars=_stack([self.trajectories.scalars(i) for i in numbers]) if spec.n_scalars else None,
            constant_fields=_stack(constant) if constant else None,
        )


def _stack(arrays: Sequence[np.ndarray | None]) -> Tensor:
    return torch.from_numpy(np.stack([array for array in arrays if array is not None]))
