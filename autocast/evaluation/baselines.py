"""Forecasts that every model has to beat: persistence, climatology and a linear map.

Each is a step from `(B, Ti, *S, C)` to `(B, To, *S, C)` in physical units, rolled out by the same loop as the models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from torch import Tensor

from autocast.data.trajectories import Trajectories
from autocast.evaluation.result import CLIMATOLOGY, LINEAR, PERSISTENCE

Step = Callable[[Tensor], Tensor]

MAX_VALUES = 2**28
"""Values of the training split that baselines are fitted to at most (1 GB of float32): evenly spaced trajectories."""
CHUNK_VALUES = 2**20


class Persistence:
    """The last input step, for ever."""

    def __init__(self, n_steps_output: int):
        self.n_steps_output = n_steps_output

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, -1:].repeat(1, self.n_steps_output, *[1] * (x.ndim - 2))


class Climatology:
    """The mean of the training split at each point, `(*S, C)`."""

    def __init__(self, mean: Tensor, n_steps_output: int):
        self.mean = mean
        self.n_steps_output = n_steps_output

    def __call__(self, x: Tensor) -> Tensor:
        return self.mean.to(x).expand(x.shape[0], self.n_steps_output, *self.mean.shape)


class LinearMap:
    """At each point, an affine map of the channels of all input steps to those of all output steps.

    Args:
        weight: `(Ti*C, To*C)`, the channel running fastest; on the CPU in double precision, as the bias.
        bias: `(To*C,)`
        n_steps_output: To.
    """

    def __init__(self, weight: Tensor, bias: Tensor, n_steps_output: int):
        self.weight = weight
        self.bias = bias
        self.n_steps_output = n_steps_output

    def __call__(self, x: Tensor) -> Tensor:
        features = x.movedim(1, -2).flatten(-2).to(self.weight)
        y = (features @ self.weight + self.bias).to(x)
        return y.unflatten(-1, (self.n_steps_output, -1)).movedim(-2, 1)


class LeastSquares:
    """Normal equations of an affine map, accumulated in float64.

    Features and targets are taken relative to the first ones seen, so that a mean much larger than the variation costs
    no digits.
    """

    def __init__(self, n_features: int, n_targets: int):
        self.n_features = n_features
        self.count = 0
        self.origin = np.zeros(n_features + n_targets)
        self.sum = np.zeros(n_features + n_targets)
        self.square = np.zeros((n_features, n_features + n_targets))

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Rows `(n, n_features)` and `(n, n_targets)`."""
        rows = np.concatenate([features, targets], axis=1, dtype=np.float64)
        if self.count == 0:
            self.origin = rows.mean(0)
        rows -= self.origin
        self.count += len(rows)
        self.sum += rows.sum(0)
        self.square += rows[:, : self.n_features].T @ rows

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight `(n_features, n_targets)` and bias `(n_targets,)`; of least norm where features are dependent."""
        mean = self.sum / self.count
        covariance = self.square / self.count - np.outer(mean[: self.n_features], mean)
        scale = np.sqrt(np.maximum(np.diag(covariance[:, : self.n_features]), np.finfo(np.float64).tiny))
        scaled = covariance[:, : self.n_features] / np.outer(scale, scale)
        right = covariance[:, self.n_features :] / scale[:, None]
        weight = np.linalg.lstsq(scaled, right, rcond=1e-13)[0] / scale[:, None]
        mean = mean + self.origin
        return weight, mean[self.n_features :] - mean[: self.n_features] @ weight


def fit_baselines(
    names: Collection[str], train: Trajectories, *, n_steps_input: int, n_steps_output: int, stride: int = 1
) -> dict[str, Step]:
    """The baselines of these names as steps, fitted in one pass over the training split.

    Args:
        names: Of `autocast.evaluation.result.BASELINES`; the reconstruction is no step, and not made here.
        train: Training split.
        n_steps_input: Steps that a step looks at.
        n_steps_output: Steps that a step forecasts.
        stride: Frames from one step to the next.
    """
    found: dict[str, Step] = {}
    if PERSISTENCE in names:
        found[PERSISTENCE] = Persistence(n_steps_output)
    if not {CLIMATOLOGY, LINEAR} & set(names):
        return found
    n_channels, n_window = train.spec.n_channels, n_steps_input + n_steps_output
    equations = LeastSquares(n_steps_input * n_channels, n_steps_output * n_channels)
    total, n_frames = np.zeros((*train.spec.grid_shape, n_channels)), 0
    for frames, n_fresh in _chunks(train, n_window, stride):
        total += frames[:n_fresh].sum(0, dtype=np.float64)
        n_frames += n_fresh
        if LINEAR in names:
            equations.add(*_rows(frames, n_steps_input, n_steps_output))
    if CLIMATOLOGY in names:
        found[CLIMATOLOGY] = Climatology(torch.from_numpy(total / n_frames), n_steps_output)
    if LINEAR in names:
        weight, bias = equations.solve()
        found[LINEAR] = LinearMap(torch.from_numpy(weight), torch.from_numpy(bias), n_steps_output)
    return found


def fitted_trajectories(train: Trajectories) -> list[int]:
    """Training trajectories that baselines are fitted to: all, or evenly spaced ones of a large split."""
    n_kept = max(1, min(train.n_trajectories, train.n_trajectories * MAX_VALUES * 4 // max(train.n_bytes, 1)))
    return [i * train.n_trajectories // n_kept for i in range(n_kept)]


def _chunks(train: Trajectories, n_window: int, stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Consecutive frames `(T, *S, C)` that hold every window of the chosen trajectories once.

    The number beside them is how many frames, from the first, are not in the next chunk as well.
    """
    n_chunk = max(1, CHUNK_VALUES // (int(np.prod(train.spec.grid_shape)) * train.spec.n_channels))
    for i in fitted_trajectories(train):
        n_steps = len(range(0, train.n_steps(i), stride))
        for start in range(0, n_steps - n_window + 1, n_chunk):
            stop = min(start + n_chunk + n_window - 1, n_steps)
            frames = train.read(i, start * stride, (stop - 1) * stride + 1, stride)
            yield frames, len(frames) if stop == n_steps else n_chunk


def _rows(frames: np.ndarray, n_steps_input: int, n_steps_output: int) -> tuple[np.ndarray, np.ndarray]:
    """Every point of every window in `(T, *S, C)` as a row of features and one of targets, the channel fastest."""
    n_channels, n_window = frames.shape[-1], n_steps_input + n_steps_output
    points = frames.reshape(len(frames), -1, n_channels)
    windows = np.lib.stride_tricks.sliding_window_view(points, n_window, axis=0)
    rows = windows.transpose(0, 1, 3, 2).reshape(-1, n_window * n_channels)
    return rows[:, : n_steps_input * n_channels], rows[:, n_steps_input * n_channels :]
