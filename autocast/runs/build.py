"""The one place where what a config names is constructed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from autocast.errors import AutocastError, ConfigError
from autocast.runs.environment import OWN_TARGETS, TARGETS, added_targets, is_added_target, is_allowed_target


def build(leaf: DictConfig | Mapping[str, Any], *completions: Any, **keywords: Any) -> Any:
    """Constructs a leaf (a config with `_target_`) and everything inside it.

    A `_partial_` leaf is called with the completions, what the data know and a config does not; without any it stays
    a partial. The containers that reach a constructor are plain lists and dicts.

    Args:
        leaf: `_target_` and keywords of its constructor.
        completions: Positional arguments.
        keywords: Keyword arguments; they win over the leaf's.

    Raises:
        ConfigError: A target is not allowed or not there, or its constructor refuses the arguments.
    """
    config = leaf if isinstance(leaf, DictConfig) else OmegaConf.create(dict(leaf))
    _allow_targets(config)
    key = config._get_full_key(None) or str(config["_target_"])
    built = _instantiate(config, key)
    return _complete(built, key, completions, keywords) if completions or keywords else built


def _instantiate(config: DictConfig, key: str) -> Any:
    try:
        return hydra.utils.instantiate(config, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, AutocastError):
            raise cause from error
        reason = str(cause or error).strip()
        raise ConfigError(f"{key}: {config['_target_']} cannot be built: {reason}") from error


def _complete(built: Any, key: str, completions: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    if not isinstance(built, partial):
        raise ConfigError(f"{key}: this leaf is complete and takes no arguments. Give it '_partial_: true'.")
    try:
        inspect.signature(built).bind(*completions, **keywords)
    except TypeError as error:
        raise ConfigError(f"{key}: the leaf cannot be completed: {error}.") from error
    return built(*completions, **keywords)


def _allow_targets(config: DictConfig) -> None:
    plain = OmegaConf.to_container(config, resolve=True)
    for key, target in _targets(config._get_full_key(None), plain):
        if not isinstance(target, str) or not is_allowed_target(target):
            allowed = ", ".join((*OWN_TARGETS, *added_targets()))
            raise ConfigError(f"{key}: {target} is not allowed. Allowed: {allowed}; add a package with {TARGETS}=NAME.")
        if is_added_target(target) and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # a package in the working directory, as `python -m` finds it


def _targets(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield f"{key}._target_" if key else "_target_", node["_target_"]
        for name, child in node.items():
            yield from _targets(f"{key}.{name}" if key else str(name), child)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _targets(f"{key}[{index}]", child)
