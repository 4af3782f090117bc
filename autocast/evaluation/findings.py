"""What the sentences of a verdict are made of: marks, numbers in words, and the forecast that stands for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autocast.evaluation.result import MEAN, MEMBER
from autocast.evaluation.result import EvaluationResult as Result

Mark = Literal["good", "warn", "bad"]
HEADLINE_LEADS = 8
MOST_NAMED = 4
"""Channels that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict."""

    topic: str
    mark: Mark
    text: str


def headline_kind(result: Result) -> str:
    """The forecast that stands for the model: the mean of its members, or its only one."""
    return MEAN if result.n_members > 1 else MEMBER


def grade(value: float, good: float, tolerable: float) -> Mark:
    if value <= good:
        return "good"
    return "warn" if value <= tolerable else "bad"


def number(value: float) -> str:
    """Three digits, as in ".036" or "1.24"."""
    text = f"{value:.3f}" if abs(value) < 1 else f"{value:.3g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """`1.3 ms`, `190 ms`, `2.4 s`, `140 s`"""
    value, unit = (1e3 * seconds, "ms") if seconds < 1 else (seconds, "s")
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"


def join(words: Sequence[str]) -> str:
    """`a, b and c`"""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
