"""How many of the training trajectories are used, and which."""

from __future__ import annotations

import numpy as np

from autocast.data.trajectories import SomeTrajectories, Trajectories
from autocast.errors import ConfigError

DRAW = 2**48
"""Keeps the draw of a subset apart from the orders of epochs, which have (seed, epoch) as their key."""


def check_subset(subset: int | float | None) -> None:
    """Raises `ConfigError` where a subset is neither a count nor a share."""
    if subset is None or (isinstance(subset, int) and not isinstance(subset, bool) and subset >= 1):
        return
    if isinstance(subset, float) and 0 < subset <= 1:
        return
    raise ConfigError(
        f"datamodule.subset={subset}: give a whole number of trajectories from 1, a share of them above 0.0 and up to "
        "1.0, or null for all."
    )


def subset_size(subset: int | float | None, n: int) -> int:
    """How many of `n` trajectories are used: at least one, and never more than there are."""
    if subset is None:
        return n
    return min(n, subset) if isinstance(subset, int) else max(1, round(subset * n))


def draw_subset(trajectories: Trajectories, subset: int | float | None, seed: int) -> Trajectories:
    """The first of all trajectories in an order that the seed draws, so that a smaller subset is part of a larger one;
    in file order."""
    n = trajectories.n_trajectories
    size = subset_size(subset, n)
    if size == n:
        return trajectories
    order = np.random.Generator(np.random.Philox(seed=[seed, DRAW])).permutation(n)
    return SomeTrajectories(trajectories, sorted(order[:size].tolist()))
