"""Sections of foreign JSON: what is not known, or not of the right kind, is found with all the rest that is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autocast.runs.problems import Problem, did_you_mean, nearest

COMMENT = "_"
"""What keys begin with that only say something."""


@dataclass
class Findings:
    """What is told of a file: what is wrong with it, and what has no counterpart here."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, subject: str, message: str) -> None:
        if (problem := Problem(subject, message)) not in self.problems:
            self.problems.append(problem)

    def tell(self, note: str) -> str:
        if note not in self.notes:
            self.notes.append(note)
        return note


class Section:
    """One object of a JSON file.

    Args:
        path: Its keys from the top of the file; "" is the file.
        values: What it holds.
        known: The keys that it may have.
        findings: Where unknown keys, and values of another kind, are told.
        base: Where values are that it lacks.
    """

    def __init__(self, path: str, values: Any, known: Collection[str], findings: Findings, base: Section | None = None):
        self.path = path
        self.findings = findings
        self.base = base
        if not isinstance(values, Mapping):
            self._wrong(path, values, "an object is wanted")
            values = {}
        self.values = {key: value for key, value in values.items() if not key.startswith(COMMENT)}
        for key in self.values:
            if key in known:
                continue
            hint = did_you_mean(nearest(key, known)) or f" There are: {', '.join(sorted(known))}."
            findings.refuse(self.name(key), f"no such key.{hint}")

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        if key in self.values or self.base is None:
            return self.values.get(key, default)
        return self.base.get(key, default)

    def name(self, key: str) -> str:
        """The keys from the top of the file to where a value is."""
        if self.base is not None and key not in self.values and key in self.base.values:
            return self.base.name(key)
        return f"{self.path}.{key}" if self.path else key

    def number(self, key: str, default: float) -> Any:
        """A finite number from 0."""
        return self._bounded(key, default, (int, float), 0, "a number from 0 is wanted")

    def whole(self, key: str, default: int, *, least: int = 1) -> Any:
        return self._bounded(key, default, (int,), least, f"a whole number from {least} is wanted")

    def flag(self, key: str, *, default: bool) -> Any:
        value = self.get(key, default)
        return value if isinstance(value, bool) else self._wrong(self.name(key), value, "true or false is wanted")

    def choice(self, key: str, options: Sequence[str], default: str) -> Any:
        value = self.get(key, default)
        return value if value in options else self._wrong(self.name(key), value, f"there are {', '.join(options)}")

    def numbers(self, key: str, default: Sequence[int]) -> Any:
        value = self.get(key, default)
        is_right = isinstance(value, Sequence) and all(type(entry) is int and entry > 0 for entry in value)
        wanted = "a list of whole numbers from 1 is wanted"
        return list(value) if is_right else self._wrong(self.name(key), value, wanted)

    def word(self, key: str) -> str | None:
        """Text, or nothing."""
        value = self.get(key)
        return (
            value if value is None or isinstance(value, str) else self._wrong(self.name(key), value, "text is wanted")
        )

    def tell(self, notes: Mapping[str, str]) -> list[str]:
        """What to do about keys that have no counterpart, where they are there and say something."""
        there = {key: note for key, note in notes.items() if self.values.get(key)}
        return [
            self.findings.tell(f"{self.name(key)}={shown(self.values[key])}: {note}") for key, note in there.items()
        ]

    def _bounded(self, key: str, default: float, types: tuple[type, ...], least: float, wanted: str) -> Any:
        value = self.get(key, default)
        is_right = isinstance(value, types) and not isinstance(value, bool) and least <= value < math.inf
        return value if is_right else self._wrong(self.name(key), value, wanted)

    def _wrong(self, name: str, value: Any, wanted: str) -> Any:
        """Whatever comes of it is not used: nothing is imported where something is wrong."""
        self.findings.refuse(name, f"{shown(value)}: {wanted}.")


def shown(value: Any) -> str:
    """As it is in the file, in brief."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
