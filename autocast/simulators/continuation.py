"""Trajectories that go on from a recorded frame, on the simulator's own grid or a coarser one."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from autocast.errors import ConfigError
from autocast.layout import frames_to_images, images_to_frames
from autocast.simulators.simulator import Simulator

FEWEST_POINTS = 4
"""Of an axis."""


def coarsened(simulator: Simulator, factor: int) -> Simulator:
    """The same equation, times and solver's step on a grid with `factor` times fewer points along every axis.

    Raises:
        ConfigError: The points of an axis cannot be divided so.
    """
    shape = simulator.grid_shape
    if any(n % factor or n // factor < FEWEST_POINTS for n in shape):
        raise ConfigError(
            f"a grid of {' x '.join(map(str, shape))} points has none that is {factor} times coarser: every axis "
            f"needs a multiple of {factor}, at least {factor * FEWEST_POINTS}"
        )
    coarse = copy.copy(simulator)
    coarse.grid_shape = tuple(n // factor for n in shape)
    return coarse


def continued(simulator: Simulator, fields: Tensor, scalars: Tensor, *, stride: int = 1) -> Iterator[Tensor]:
    """The frames `(B, *S, C)` that follow these, without end, in the solver's precision.

    Args:
        simulator: One that goes on from frames (`continues_from_frames`).
        fields: Recorded frames `(B, *S, C)` on the simulator's grid.
        scalars: `(B, K)`, in the order of the simulator's `scalar_names`.
        stride: Frames of the simulator from one to the next.
    """
    dtype = getattr(torch, simulator.precision)
    stepper = simulator.stepper(scalars.double(), dtype)
    state = stepper.start(frames_to_images(fields[:, None].to(dtype)))
    while True:
        for _ in range(stride * simulator.n_substeps):
            state = stepper.step(state)
        yield images_to_frames(stepper.fields(state), 1)[:, 0]
