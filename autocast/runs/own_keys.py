"""Keys of the trainer's leaf that are ours: they are taken out before Lightning's Trainer is constructed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autocast.runs.walltime import budget_seconds

CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of `torch.compile` that replay CUDA graphs on a GPU."""
MODES = ("default", *CUDA_GRAPHS)
"""Of `torch.compile`."""


def _spike(value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 1):
        raise ValueError(f"{value}: a number above 1 is wanted, or null")
    return value


def _steps(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(step) is int and step >= 0 for step in value):
        raise ValueError(f"{value}: a list of optimiser steps is wanted, such as [1200]")
    return value


def _windows(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"{value}: a number of windows from 1 is wanted, or null")
    return value


def _mode(value: Any) -> str | None:
    if value is not None and value not in MODES:
        raise ValueError(f"{value}: one of {', '.join(MODES)} is wanted, or null")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value}: true or false is wanted")
    return value


OWN: dict[str, Callable[[Any], Any]] = {
    "trainer.budget": budget_seconds,
    "trainer.max_spike": _spike,
    "trainer.skip_steps": _steps,
    "trainer.micro_batch": _windows,
    "trainer.compile": _mode,
    "trainer.tf32": _switch,
}
"""What reads them; it raises a ValueError that says what is wanted."""


def read_own(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a trainer's leaf that are ours, read; an older config may lack them."""
    names = {path: path.rpartition(".")[2] for path in OWN}
    return {name: OWN[path](trainer[name]) for path, name in names.items() if name in trainer}


def without_own(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """What Lightning's Trainer is constructed from."""
    return {key: value for key, value in trainer.items() if f"trainer.{key}" not in OWN}
