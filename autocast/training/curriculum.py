"""How many windows a training unrolls: pure functions of the optimiser's step, so that a resumed run goes on alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autocast.errors import ConfigError

Curriculum = Callable[[int], int]
"""The number of windows at a step; a batch that holds fewer is trained on all that it holds."""


class Growing:
    """One window, and one more after `every` steps, again and again."""

    def __init__(self, every: int):
        if every < 1:
            raise ConfigError(f"training.curriculum.every={every}: must be at least 1.")
        self.every = every

    def __call__(self, step: int) -> int:
        return 1 + step // self.every


class StepWise:
    """One window, and one more from each of the `milestones` on."""

    def __init__(self, milestones: Sequence[int]):
        if list(milestones) != sorted(milestones):
            raise ConfigError(f"training.curriculum.milestones={list(milestones)}: must be in ascending order.")
        self.milestones = tuple(milestones)

    def __call__(self, step: int) -> int:
        return 1 + sum(step >= milestone for milestone in self.milestones)
