"""A mistake that can be named before anything is started."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What was typed (or the key of a config) and what is wrong with it, with the remedy."""

    subject: str
    """`trainer.max_epocs=3`, `--dataset nope`, `model.encoder._target_`."""
    message: str
    """`no such key. Did you mean trainer.max_epochs?`"""


def as_problem(error: Exception, subject: str) -> Problem:
    """A mistake that was raised; where its message begins with a key of the subject's section, that is the subject."""
    key, _, message = str(error).partition(": ")
    if re.match(rf"{re.escape(subject.partition('.')[0])}\.[\w.]+(=|$)", key):
        return Problem(key, message)
    return Problem(subject, str(error))


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `names` that `name` was perhaps meant to be."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(name: str | None) -> str:
    """` Did you mean X?`, or nothing."""
    return f" Did you mean {name}?" if name else ""
