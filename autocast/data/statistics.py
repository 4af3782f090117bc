"""Mean, deviation, root mean square and range of every channel of a split, and the first three of its change from
frame to frame.

Sums are streamed in float64, block by block, and pooled by the moments of a mixture, so memory does not grow with the
data. Trajectories are summed in threads and pooled in their order, so the result is the same for any number of them.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast.data.trajectories import Trajectories, check_finite

BLOCK_BYTES = 32 * 2**20
MAX_THREADS = 8
"""Each holds some six times a block."""


class Moments:
    """Mean, population variance and range per channel of a stream of `(..., C)` blocks."""

    def __init__(self, n_channels: int):
        self.n = 0
        self.mean = np.zeros(n_channels)
        self.minimum, self.maximum = np.full(n_channels, np.inf), np.full(n_channels, -np.inf)
        self._m2 = np.zeros(n_channels)

    def add(self, block: np.ndarray) -> None:
        new = Moments(len(self.mean))
        new.n = block[..., 0].size
        for channel in range(len(self.mean)):
            values = block[..., channel].astype(np.float64).ravel()
            new.mean[channel] = values.mean()
            new.minimum[channel], new.maximum[channel] = values.min(), values.max()
            values -= new.mean[channel]
            new._m2[channel] = np.square(values, out=values).sum()
        self.pool(new)

    def pool(self, other: Moments) -> None:
        """The moments of both streams together."""
        if other.n == 0:
            return
        delta, n = other.mean - self.mean, self.n + other.n
        self.mean += delta * other.n / n
        self._m2 += other._m2 + delta**2 * self.n * other.n / n
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.n = n

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self._m2 / max(self.n, 1))

    @property
    def rms(self) -> np.ndarray:
        return np.sqrt(self.mean**2 + self._m2 / max(self.n, 1))


@dataclass(frozen=True)
class Statistics:
    """Arrays per channel `(C,)` in float64; constant fields have no change in time."""

    mean: np.ndarray
    std: np.ndarray
    rms: np.ndarray
    mean_delta: np.ndarray
    std_delta: np.ndarray
    rms_delta: np.ndarray
    constant_mean: np.ndarray
    constant_std: np.ndarray
    constant_rms: np.ndarray
    minimum: np.ndarray | None = None
    """None where a file of another tool does not say."""
    maximum: np.ndarray | None = None
    constant_minimum: np.ndarray | None = None
    constant_maximum: np.ndarray | None = None
    source: str = "computed from the training split"

    @property
    def has_range(self) -> bool:
        return self.minimum is not None and self.constant_minimum is not None

    def to_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def compute_statistics(trajectories: Trajectories, *, progress: Callable[[int, int], None] | None = None) -> Statistics:
    """One pass over all frames. Raises `DataError` naming the place of the first value that is not finite."""
    spec, n = trajectories.spec, trajectories.n_trajectories
    values, deltas = Moments(spec.n_channels), Moments(spec.n_channels)
    constants = Moments(spec.n_constant_fields)
    reading = threading.Lock()
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for i, found in enumerate(pool.map(lambda i: _moments(trajectories, i, reading), range(n))):
            for total, new in zip((values, deltas, constants), found, strict=True):
                total.pool(new)
            if progress is not None:
                progress(i + 1, n)
    return Statistics(
        mean=values.mean,
        std=values.std,
        rms=values.rms,
        mean_delta=deltas.mean,
        std_delta=deltas.std,
        rms_delta=deltas.rms,
        constant_mean=constants.mean,
        constant_std=constants.std,
        constant_rms=constants.rms,
        minimum=values.minimum,
        maximum=values.maximum,
        constant_minimum=constants.minimum,
        constant_maximum=constants.maximum,
    )


def _moments(trajectories: Trajectories, i: int, reading: threading.Lock) -> tuple[Moments, Moments, Moments]:
    """Of the frames of a trajectory, of their changes, and of its constant fields; only one thread reads at a time."""
    spec = trajectories.spec
    values, deltas = Moments(spec.n_channels), Moments(spec.n_channels)
    constants = Moments(spec.n_constant_fields)
    n_block = max(2, BLOCK_BYTES // (4 * int(np.prod(spec.grid_shape)) * spec.n_channels))
    last = np.empty((0, *spec.grid_shape, spec.n_channels), np.float32)
    for start in range(0, trajectories.n_steps(i), n_block):
        with reading:
            block = trajectories.read(i, start, min(start + n_block, trajectories.n_steps(i)))
        check_finite(block, trajectories, i, start)
        values.add(block)
        joined = np.concatenate((last, block))
        if len(joined) > 1:
            deltas.add(np.diff(joined.astype(np.float64), axis=0))
        last = block[-1:]
    with reading:
        constant = trajectories.constant_fields(i)
    if constant is not None:
        constants.add(constant)
    return values, deltas, constants


def scalar_statistics(trajectories: Trajectories) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation `(K,)` of the scalars over the trajectories."""
    moments = Moments(trajectories.spec.n_scalars)
    for i in range(trajectories.n_trajectories):
        moments.add(trajectories.scalars(i)[None])
    return moments.mean, moments.std
