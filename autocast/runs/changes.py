"""How a config differs from the defaults, as a user reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from autocast.runs.identity import flatten

REMOVED = "removed"


@dataclass(frozen=True)
class Changes:
    values: dict[str, Any] = field(default_factory=dict)
    """Keys that are new or have another value; a section that became a value is one key."""
    removed: tuple[str, ...] = ()
    """Keys that are gone; a section that is gone is one key."""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """`("trainer.max_epochs", "3")`, `("callbacks.ema", "removed")`."""
        return [(key, _inline(value)) for key, value in self.values.items()] + [(key, REMOVED) for key in self.removed]

    @property
    def lines(self) -> list[str]:
        """The values as YAML, then the keys that are gone."""
        values = [f"{key}: {_inline(value)}" for key, value in self.values.items()]
        return values + [f"{key}   {REMOVED}" for key in self.removed]


def changes(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> Changes:
    """What `config` has otherwise than `defaults`."""
    return Changes(dict(_values(defaults, config, "")), tuple(_removed(defaults, config, "")))


def _values(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in new.items():
        key, before = f"{prefix}{name}", old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _values(before, value, f"{key}.")
        elif name not in old or value != before:
            yield from flatten(value, key)


def _removed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, before in old.items():
        key = f"{prefix}{name}"
        if name not in new:
            yield key
        elif isinstance(before, Mapping) and isinstance(value := new[name], Mapping):
            yield from _removed(before, value, f"{key}.")


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
