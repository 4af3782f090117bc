"""Overrides as typed: Hydra's grammar, the friendly short forms, and what stands before and after `::eval::`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from autocast.runs.environment import is_secret_key
from autocast.runs.problems import Problem

EVAL_TOKEN = "::eval::"
WORKDIR = "hydra.run.dir"


@dataclass(frozen=True)
class Typed:
    """One override: what was typed, and what it means."""

    text: str
    key: str
    """`trainer.max_epochs`, or the place (`model.encoder`) of a choice."""
    value: Any
    group: str | None = None
    """The config group that an option is chosen from."""
    adds: bool = False
    """`+a=1`: only where there is nothing yet."""
    forces: bool = False
    """`++a=1`: whether there is something or not."""
    deletes: bool = False

    @property
    def is_choice(self) -> bool:
        return self.group is not None

    @property
    def hydra_line(self) -> str:
        """A choice in Hydra's own words; choosing nothing is deleting the choice."""
        place = str(self.group) if self.key == self.package_of_group else f"{self.group}@{self.key}"
        if self.deletes or self.value is None:
            return f"~{place}"
        options = f"[{','.join(map(str, self.value))}]" if isinstance(self.value, list) else str(self.value)
        return f"{'+' if self.adds else ''}{place}={options}"

    @property
    def package_of_group(self) -> str:
        return str(self.group).replace("/", ".")


@dataclass(frozen=True)
class Overrides:
    """All that could be read of a command's overrides, and what could not."""

    typed: tuple[Typed, ...]
    workdir: Path | None
    problems: tuple[Problem, ...]

    @property
    def choices(self) -> list[Typed]:
        return [o for o in self.typed if o.is_choice]

    @property
    def values(self) -> list[Typed]:
        return [o for o in self.typed if not o.is_choice]

    def touching(self, *keys: str) -> list[Typed]:
        """Overrides of one of `keys` or of something inside it."""
        return [o for o in self.typed if any(o.key == key or o.key.startswith(f"{key}.") for key in keys)]


def split_eval(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and after `::eval::`."""
    if EVAL_TOKEN not in words:
        return tuple(words), ()
    at = list(words).index(EVAL_TOKEN)
    return tuple(words[:at]), tuple(words[at + 1 :])


def read_overrides(words: Sequence[str], groups: Collection[str]) -> Overrides:
    """Reads each override by itself; `groups` are the names of the config groups."""
    typed, problems, workdir = [], [], None
    for word in words:
        override = _parse(word)
        problem = override if isinstance(override, Problem) else _refusal(word, override)
        if problem:
            problems.append(problem)
        elif override.key_or_group == WORKDIR:  # type: ignore[union-attr]
            workdir = Path(str(override.value()))  # type: ignore[union-attr]
        else:
            typed.append(_typed(word, override, groups))  # type: ignore[arg-type]
    return Overrides(tuple(typed), workdir, tuple(problems))


def write_override(key: str, value: Any) -> str:
    """`key=value` as it is typed where no shell reads it: reading it gives the plain value again."""
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value if _reads_as(value, value) else QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return "null" if value is None else str(value).lower()


def _reads_as(text: str, value: str) -> bool:
    """Whether a text is taken for this text, in a list too, and not for a number, an option or several."""
    try:
        return _parser().parse_override(f"key=[{text}]").value() == [value]
    except HydraException:
        return False


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _parse(word: str) -> Override | Problem:
    if word.startswith("-"):
        return Problem(word, "no such flag. Flags are listed by --help; overrides are written key=value.")
    try:
        return _parser().parse_override(word)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        if "=" not in word:
            return Problem(word, "no override. Overrides are written key=value (or ~key to delete one).")
        return Problem(word, f"cannot be read ({reason}). Quote special characters: \"key='a, b'\".")


def _refusal(word: str, override: Override) -> Problem | None:
    if override.is_sweep_override():
        return Problem(
            word,
            "several values: a sweep, and sweeps are asked for explicitly. A list is written key=[a,b], a text 'a,b'.",
        )
    if not override.key_or_group:
        return Problem(word, "no key before the equals sign.")
    if override.is_hydra_override() and override.key_or_group != WORKDIR:
        return Problem(word, f"of Hydra's own settings only {WORKDIR} is understood here.")
    if override.key_or_group == WORKDIR and not override.value():
        return Problem(word, "a directory is needed.")
    if isinstance(override.value(), str) and override.value() and is_secret_key(override.key_or_group):
        return Problem(override.key_or_group, "a secret never enters a config. Put it in the environment or in .env.")
    return None


def _typed(word: str, override: Override, groups: Collection[str]) -> Typed:
    group, key = _place(override, groups)
    return Typed(
        text=word,
        key=key,
        value=override.value(),
        group=group,
        adds=override.is_add(),
        forces=override.is_force_add(),
        deletes=override.is_delete(),
    )


def _place(override: Override, groups: Collection[str]) -> tuple[str | None, str]:
    """The group (None for a value) and the key of an override."""
    name = override.key_or_group
    if override.package is not None:
        return name, override.package
    if name in groups and not isinstance(override.value(), dict):
        return name, name.replace("/", ".")
    last = name.rpartition(".")[2]
    is_name = override.value() is None or isinstance(override.value(), str)
    if name.startswith("model.") and last in groups and is_name and not override.is_force_add():
        return last, name
    return None, name
