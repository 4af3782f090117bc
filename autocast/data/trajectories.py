"""The interface through which everything else reads a split: whole simulations, cut in time as wanted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from autocast.errors import DataError
from autocast.types import FieldSpec


class Trajectories(ABC):
    """The trajectories of one split, in file order."""

    spec: FieldSpec
    n_trajectories: int
    field_orders: tuple[tuple[str, int], ...]
    """Name and tensor order of each stored field, time-varying before constant, each in the order of the channels."""

    @abstractmethod
    def n_steps(self, i: int) -> int:
        """Frames of trajectory `i`."""

    @abstractmethod
    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        """Frames `range(start, stop, stride)` of trajectory `i`: `(T, *S, C)` float32, the caller's own."""

    @abstractmethod
    def scalars(self, i: int) -> np.ndarray:
        """`(K,)` float32; empty where there are none."""

    @abstractmethod
    def constant_fields(self, i: int) -> np.ndarray | None:
        """`(*S, Cc)` float32, or None where the data set has none."""

    @abstractmethod
    def name(self, i: int) -> str:
        """Where trajectory `i` lies: its file and its place there."""

    @property
    def total_steps(self) -> int:
        return sum(self.n_steps(i) for i in range(self.n_trajectories))

    @property
    def n_bytes(self) -> int:
        """Memory that all frames take as float32."""
        return 4 * self.total_steps * int(np.prod(self.spec.grid_shape)) * self.spec.n_channels

    def check_range(self, i: int, start: int, stop: int, stride: int) -> None:
        if not (0 <= i < self.n_trajectories and 0 <= start < stop <= self.n_steps(i) and stride > 0):
            n_steps = self.n_steps(i) if 0 <= i < self.n_trajectories else 0
            raise IndexError(
                f"frames {start}:{stop}:{stride} of trajectory {i}: there are {self.n_trajectories} trajectories, "
                f"and {n_steps} frames in that one"
            )


class SomeTrajectories(Trajectories):
    """Those of a split that were chosen, in their order there."""

    def __init__(self, whole: Trajectories, chosen: Sequence[int]):
        self.whole = whole
        self.chosen = tuple(chosen)
        self.spec, self.field_orders = whole.spec, whole.field_orders
        self.n_trajectories = len(self.chosen)

    def n_steps(self, i: int) -> int:
        return self.whole.n_steps(self.chosen[i])

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        return self.whole.read(self.chosen[i], start, stop, stride)

    def scalars(self, i: int) -> np.ndarray:
        return self.whole.scalars(self.chosen[i])

    def constant_fields(self, i: int) -> np.ndarray | None:
        return self.whole.constant_fields(self.chosen[i])

    def name(self, i: int) -> str:
        return self.whole.name(self.chosen[i])


def check_finite(frames: np.ndarray, trajectories: Trajectories, i: int, start: int, stride: int = 1) -> None:
    """Raises `DataError` naming the first value of `frames` `(T, *S, C)` of trajectory `i` that is not finite."""
    if np.isfinite(frames.sum(dtype=np.float64)):
        return
    places = np.argwhere(~np.isfinite(frames))
    step, channel = start + stride * int(places[0][0]), trajectories.spec.channel_names[places[0][-1]]
    raise DataError(
        f"data set {trajectories.spec.dataset_name}: {trajectories.name(i)}, step {step}, field {channel}: "
        f"{frames[tuple(places[0])]} is not finite. Run 'autocast data inspect' to see all such places."
    )
