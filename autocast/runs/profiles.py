"""The cluster profile of a command: which one, and what is filled in where it says nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from autocast.runs.composer import Draft
from autocast.runs.overrides import Overrides, Typed
from autocast.runs.request import SLURM, Request
from autocast.runs.spine import Cluster
from autocast.runs.tree import ConfigTree
from autocast.runs.user_settings import settings_file, user_settings

GROUP, GENERIC = "cluster", "generic"
VARIABLE = "AUTOCAST_CLUSTER"


def chosen_profile(request: Request, typed: Overrides, tree: ConfigTree) -> tuple[Typed | None, list[str]]:
    """The profile of `--cluster`, else the user's default where none is typed.

    Returns:
        The choice, or None where the config's own holds; and notes.

    Raises:
        ConfigError: The user's file cannot be read.
    """
    if request.cluster:
        return _choice(f"--cluster {request.cluster}", request.cluster), []
    default = None if cluster_choices(typed) else _default_profile()
    if default and request.mode != SLURM and default.value not in tree.options[GROUP]:
        return None, [f"{default.text}: no such cluster profile here, which does not matter in local mode"]
    return default, []


def cluster_choices(typed: Overrides) -> list[Typed]:
    """Profiles that were typed as overrides."""
    return [choice for choice in typed.choices if choice.key == GROUP]


def is_silent(section: Any) -> bool:
    """Whether a section asks for nothing: it is not there, or it is the generic one."""
    return not isinstance(section, DictConfig) or OmegaConf.to_container(section) in ({}, asdict(Cluster()))


def fill_keys(config: DictConfig) -> None:
    """Keys that the section lacks get the defaults."""
    section = OmegaConf.select(config, GROUP)
    if section is None or isinstance(section, DictConfig):
        said: Any = OmegaConf.to_container(section) if isinstance(section, DictConfig) else {}
        OmegaConf.update(config, GROUP, {**asdict(Cluster()), **said}, merge=False, force_add=True)


def fill_profile(draft: Draft, tree: ConfigTree) -> None:
    """A section that comes from a profile: its missing keys, the user's account, and its time as it was written."""
    fill_keys(draft.config)
    section = draft.config[GROUP]
    if not isinstance(section, DictConfig):
        return
    if OmegaConf.select(section, "account") is None:
        section["account"] = user_settings().account
    time = OmegaConf.select(section, "time")
    if isinstance(time, int):
        written = (text for text in _times(tree, draft.choices) if yaml.safe_load(text) == time)
        section["time"] = next(written, time)


def _default_profile() -> Typed | None:
    if name := os.environ.get(VARIABLE):
        return _choice(f"{VARIABLE}={name}", name)
    name = user_settings().cluster
    return _choice(f"{settings_file()}: cluster: {name}", name) if name else None


def _choice(text: str, name: str) -> Typed:
    return Typed(text, GROUP, name, GROUP)


def _times(tree: ConfigTree, choices: Mapping[str, str]) -> Iterator[str]:
    """Times with colons as the chosen files spell them: to YAML 1.1 an unquoted 12:00:00 is the number 43200."""
    for place, option in choices.items():
        group = place.partition("@")[0]
        times = _times_of_option(tree, group, option)
        yield from (text for text in times if re.fullmatch(r"\d+(:\d+)+", text))


def _times_of_option(tree: ConfigTree, group: str, option: str) -> Iterator[str]:
    """The time of an option's file, then those of the profiles that it extends."""
    for file in (directory / group / f"{option}.yaml" for directory in (tree.own, *tree.added)):
        content = _texts(file)
        section = content if group == GROUP else content.get(GROUP)
        if isinstance(section, dict) and isinstance(section.get("time"), str):
            yield section["time"]
        extended = content.get("defaults") if group == GROUP else None
        for name in extended if isinstance(extended, list) else ():
            if isinstance(name, str) and name not in ("_self_", option):
                yield from _times_of_option(tree, group, name)


def _texts(file: Path) -> dict[str, Any]:
    """A YAML file with every value as the text that was written."""
    content = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader) if file.is_file() else None
    return content if isinstance(content, dict) else {}
