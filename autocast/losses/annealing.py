"""Weights that change while a training goes on.

Lengths are optimiser steps, or text: `"5 epochs"`, `"20 %"` of the run.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from autocast.errors import ConfigError

Number = int | float
Length = Number | str
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(epochs?|%)")


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: Number
    """Optimiser steps done."""
    steps_per_epoch: Number = math.inf
    total_steps: Number = math.inf

    def steps(self, length: Length) -> Number:
        """A length in optimiser steps."""
        if not isinstance(length, str):
            return length
        number, unit = _parsed(length)
        if number == 0:  # whatever the run's length is, which may not be known
            return 0.0
        return number * self.steps_per_epoch if unit.startswith("epoch") else number / 100 * self.total_steps


END = Progress(math.inf, 1.0, 1.0)
"""After everything: what validation weighs by."""


class Annealing(ABC):
    """A weight at every moment of a training.

    Attributes:
        weight: What it ends at.
    """

    weight: Number

    @abstractmethod
    def at(self, progress: Progress) -> Number:
        """The weight then; `weight` at `END`."""

    @abstractmethod
    def __str__(self) -> str:
        """`0 to 0.1 (linear, 10 %)`"""


class Constant(Annealing):
    """The same all the time."""

    def __init__(self, weight: Number = 1.0):
        self.weight = weight

    def at(self, progress: Progress) -> Number:  # noqa: ARG002
        return self.weight

    def __str__(self) -> str:
        return f"{self.weight:g}"


class Linear(Annealing):
    """`weight * min(1, s / W)` at step s of a warm-up of W."""

    def __init__(self, weight: Number = 1.0, warmup: Length = 10_000):
        self.weight = weight
        self.warmup = checked("warmup", warmup)

    def at(self, progress: Progress) -> Number:
        return self.weight * _share(progress.step, progress.steps(self.warmup))

    def __str__(self) -> str:
        return f"0 to {self.weight:g} (linear, {_told(self.warmup)})"


class Sigmoid(Annealing):
    """`weight / (1 + exp(-(s - W / 2) / (W / 10)))`: .0067 of the weight at the start, .9933 after W steps."""

    def __init__(self, weight: Number = 1.0, warmup: Length = 10_000):
        self.weight = weight
        self.warmup = checked("warmup", warmup)

    def at(self, progress: Progress) -> Number:
        if math.isinf(progress.step):
            return self.weight
        warmup = progress.steps(self.warmup)
        x = (progress.step - warmup / 2) / max(1.0, warmup / 10)
        return self.weight / (1 + math.exp(-x)) if x > -700 else 0.0

    def __str__(self) -> str:
        return f"0 to {self.weight:g} (sigmoid, {_told(self.warmup)})"


class Cosine(Annealing):
    """Half a cosine from 0 to `weight` in a warm-up."""

    def __init__(self, weight: Number = 1.0, warmup: Length = 10_000):
        self.weight = weight
        self.warmup = checked("warmup", warmup)

    def at(self, progress: Progress) -> Number:
        return self.weight * 0.5 * (1 - math.cos(math.pi * _share(progress.step, progress.steps(self.warmup))))

    def __str__(self) -> str:
        return f"0 to {self.weight:g} (cosine, {_told(self.warmup)})"


class Cyclical(Annealing):
    """Up from 0 to `weight` in the first half of every period, constant in the second.

    References:
        | Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing (Fu et al., 2019)
        | https://arxiv.org/abs/1903.10145
    """

    def __init__(self, weight: Number = 1.0, period: Length = 10_000):
        self.weight = weight
        self.period = checked("period", period)
        if not isinstance(period, str) and period < 2:
            raise ConfigError(f"period={period}: a cycle of fewer than 2 steps never leaves 0.")

    def at(self, progress: Progress) -> Number:
        if math.isinf(progress.step):
            return self.weight
        period = progress.steps(self.period)
        return self.weight * _share(progress.step % period, period / 2)

    def __str__(self) -> str:
        return f"0 to {self.weight:g} (cycles of {_told(self.period)})"


class Piecewise(Annealing):
    """Straight lines through points `[length, weight]`; before the first and after the last it stays."""

    def __init__(self, points: Sequence[Sequence[Length]]):
        if not points or any(len(point) != 2 for point in points):
            raise ConfigError("points: a list of [length, weight] is wanted, such as [[0, 0.0], [1000, 1.0]].")
        self.points = [(checked("points", length), float(weight)) for length, weight in points]
        self.weight = self.points[-1][1]
        steps = [length for length, _ in self.points]
        if any(isinstance(a, int | float) and isinstance(b, int | float) and a >= b for a, b in pairwise(steps)):
            raise ConfigError(f"points={[list(point) for point in points]}: lengths must grow from point to point.")

    def at(self, progress: Progress) -> Number:
        known = [(progress.steps(length), weight) for length, weight in self.points]
        if progress.step <= known[0][0]:
            return known[0][1]
        for (start, low), (stop, high) in pairwise(known):
            if progress.step < stop:
                return low + (high - low) * (progress.step - start) / (stop - start)
        return self.weight

    def __str__(self) -> str:
        return ", ".join(f"{weight:g} at {_told(length)}" for length, weight in self.points)


class Delayed(Annealing):
    """Nothing for a while, then another annealing, or a constant weight, from its start."""

    def __init__(self, then: Annealing | Number = 1.0, delay: Length = 0):
        self.then = then if isinstance(then, Annealing) else Constant(then)
        self.weight = self.then.weight
        self.delay = checked("delay", delay)

    def at(self, progress: Progress) -> Number:
        delay = progress.steps(self.delay)
        if progress.step < delay:
            return 0.0
        return self.then.at(Progress(progress.step - delay, progress.steps_per_epoch, progress.total_steps))

    def __str__(self) -> str:
        return f"{self.then} after {_told(self.delay)}"


def as_annealing(weight: Annealing | Number) -> Annealing:
    """A number is a constant weight."""
    return weight if isinstance(weight, Annealing) else Constant(float(weight))


def checked(name: str, length: Length) -> Length:
    """A length as it is.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(length, str):
        _parsed(length)
    elif length < 0:
        raise ConfigError(f"{name}={length}: a length is not negative.")
    return length


def _parsed(length: str) -> tuple[float, str]:
    found = _LENGTH.fullmatch(length.strip())
    if found is None:
        raise ConfigError(f"{length!r} is no length. Write optimiser steps (1000), '5 epochs', or '20 %' of the run.")
    return float(found[1]), found[2]


def _told(length: Length) -> str:
    return length if isinstance(length, str) else f"{length:,} steps"


def _share(step: Number, length: Number) -> Number:
    return min(1.0, step / max(1.0, length))
