"""The dial of sizes: each backbone has a table from sizes to hyper-parameters, any of which may be given instead.

Runs record the size, not what it stands for, and are built again from it: the numbers in a table never change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from autocast.errors import ConfigError

SIZES = {"xs": 0.25e6, "s": 1.1e6, "m": 10e6, "l": 80e6, "xl": 250e6}
"""About how many parameters a backbone of a size has, for two channels on 256, 64 x 64 or 64 x 64 x 64 points."""

Hyper = TypeVar("Hyper")


def sized(table: Mapping[str, Hyper], size: str, **given: Any) -> Hyper:
    """The hyper-parameters of a size, a dataclass, with those that are given (not None) instead of the size's.

    Raises:
        ConfigError: There is no such size.
    """
    if size not in table:
        raise ConfigError(f"backbone.size={size}: no such size. There are: {', '.join(table)}.")
    return dataclasses.replace(table[size], **{name: value for name, value in given.items() if value is not None})  # type: ignore[type-var]


def most_levels(grid_shape: tuple[int, ...]) -> int:
    """How often a grid can be halved, and once more: levels with more than one point; there is always one."""
    return max(1, (max(grid_shape) - 1).bit_length())


def check_positive(what: str, **values: int) -> None:
    """Raises ConfigError for the first of the values that is below 1; `what` is "a U-Net"."""
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"backbone.{name}={value}: {what} needs at least 1. Set {name}=1 or more.")
