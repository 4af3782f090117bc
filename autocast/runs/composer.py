"""Hydra, called once per command: the choices of a command line to a config."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from autocast.runs.environment import own_config_dirs
from autocast.runs.overrides import Overrides, Typed, read_overrides
from autocast.runs.problems import Problem, did_you_mean
from autocast.runs.signatures import Signatures
from autocast.runs.sources import Sources
from autocast.runs.tree import ConfigTree, config_tree
from autocast.runs.values import Editor

REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError)


@dataclass(frozen=True)
class Draft:
    """A config on its way: references are not resolved, nothing has been checked."""

    config: DictConfig
    choices: dict[str, str]
    """The chosen option of each place: `datamodule`, `processor@model.processor`, ..."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Composer:
    """What the compositions of one command share."""

    root: str
    """Name of the root config."""
    tree: ConfigTree
    signatures: Signatures

    @classmethod
    def of(cls, root: str, config_dir: Path | None = None) -> Composer:
        signatures = Signatures(Sources(extra_paths=(str(Path.cwd()),)))
        return cls(root, config_tree(own_config_dirs(config_dir)), signatures)

    @cached_property
    def places(self) -> dict[str, str]:
        """The places of groups that the root config has inside of a section: `objective` is at `model.objective`."""
        found: dict[str, list[str]] = {}
        for group, _, place in (line.partition("@") for line in _default_lines(self.tree.own, self.root)):
            found.setdefault(group, []).append(place)
        return {group: places[0] for group, places in found.items() if len(places) == 1 and places[0]}

    def read(self, words: Sequence[str]) -> Overrides:
        """What words mean; an option of a group with one place goes there, so that `objective=vae` is enough."""
        read = read_overrides(words, self.tree.options)
        return replace(read, typed=tuple(self._placed(override) for override in read.typed))

    def apply(self, draft: Draft, values: Iterable[Typed]) -> None:
        """Value overrides, one by one."""
        draft.problems.extend(Editor(draft.config, self.root, self.tree, self.signatures).apply(values))

    def draft(self, choices: Sequence[Typed]) -> Draft:
        """The config of the choices; choices that cannot be made become problems."""
        found = [self._bad_choice(choice) for choice in choices]
        problems = [problem for problem in found if problem]
        good = [choice for choice, problem in zip(choices, found, strict=True) if not problem]
        try:
            config, known = self._hydra(self.root, good)
        except REFUSALS:
            if not good:  # a fault in the config files themselves
                raise
            return self._draft_what_goes(good, problems)
        return Draft(config, known, problems)

    def replace(self, draft: Draft, choices: Iterable[Typed]) -> None:
        """Options put in their places in a config that exists already."""
        for choice in choices:
            problem = self._bad_choice(choice) or self._replace(draft, choice)
            if problem:
                draft.problems.append(problem)

    def option(self, group: str, name: str) -> DictConfig:
        """One option of a group by itself."""
        config, _ = self._hydra(None, [Typed(f"{group}={name}", group.replace("/", "."), name, group, adds=True)])
        return OmegaConf.select(config, group.replace("/", "."))

    def _placed(self, override: Typed) -> Typed:
        is_elsewhere = override.is_choice and override.key == override.package_of_group
        return replace(override, key=self.places.get(override.key, override.key)) if is_elsewhere else override

    def _replace(self, draft: Draft, choice: Typed) -> Problem | None:
        if OmegaConf.select(draft.config, choice.key) is None or not isinstance(choice.value, str):
            return Problem(choice.text, f"there is no {choice.group} in this config to replace.")
        try:
            node = self.option(str(choice.group), choice.value)
        except REFUSALS:
            return Problem(choice.text, "chooses other options as well, which a config that is there has already.")
        OmegaConf.update(draft.config, choice.key, node, merge=False, force_add=True)
        place = str(choice.group) if choice.key == choice.package_of_group else f"{choice.group}@{choice.key}"
        draft.choices[place] = choice.value
        return None

    def _hydra(self, name: str | None, choices: Sequence[Typed]) -> tuple[DictConfig, dict[str, str]]:
        lines = [choice.hydra_line for choice in choices]
        added = [repr(f"file://{path}") for path in self.tree.added if path.is_dir()]
        if added:
            lines.append(f"hydra.searchpath=[{','.join(added)}]")
            return _compose(self.tree.own, name, lines)
        config, known = _compose_own(self.tree.own, name, tuple(lines))
        return copy.deepcopy(config), dict(known)

    def _bad_choice(self, choice: Typed) -> Problem | None:
        options = choice.value if isinstance(choice.value, list) else [choice.value]
        if choice.group not in self.tree.options:
            return Problem(choice.text, str(self.tree.no_such_option(str(choice.group), "", self.root)))
        for option in options:
            if option is None:
                continue
            if message := self.tree.no_such_option(str(choice.group), str(option), self.root):
                return Problem(choice.text, message)
        return None

    def _draft_what_goes(self, choices: list[Typed], problems: list[Problem]) -> Draft:
        """Leaves out the choices that Hydra refuses, one after the other."""
        accepted: list[Typed] = []
        config, known = self._hydra(self.root, [])
        for choice in choices:
            try:
                config, known = self._hydra(self.root, [*accepted, choice])
                accepted.append(choice)
            except REFUSALS as refusal:
                problems.append(Problem(choice.text, _refused(choice, known, str(refusal))))
        return Draft(config, known, problems)


@functools.lru_cache(maxsize=64)
def _compose_own(own: Path, name: str | None, lines: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    """From the files of the package, which stay as they are while it runs: what was composed once, as are the defaults
    that a config is compared with, need not be again."""
    return _compose(own, name, lines)


def _compose(own: Path, name: str | None, lines: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """A config, and the chosen option of each place in it."""
    with initialize_config_dir(str(own), version_base="1.3"):
        config = hydra_compose(name, list(lines), return_hydra_config=True)
    known = {place: str(option) for place, option in config.hydra.runtime.choices.items() if "hydra/" not in place}
    with open_dict(config):
        del config["hydra"]
    return config, known


def _default_lines(directory: Path, root: str) -> Iterator[str]:
    """`group` or `group@place` of every choice in the defaults of a root config, and of the one that it extends."""
    for line in yaml.safe_load((directory / f"{root}.yaml").read_text(encoding="utf-8")).get("defaults", []):
        if isinstance(line, dict):
            yield next(iter(line)).removeprefix("optional ")
        elif line != "_self_":
            yield from _default_lines(directory, line)


def _refused(choice: Typed, known: dict[str, str], reason: str) -> str:
    """Why Hydra does not take a choice, in this house's words where they are known."""
    places = [place for place in known if place.partition("@")[0] == choice.group]
    if reason.startswith("Could not override") and places and choice.key == choice.package_of_group:
        return f"no {choice.group} is chosen at the top level.{did_you_mean(f'{places[0]}={choice.value}')}"
    if reason.startswith("Could not override") and f"'{choice.group}" in reason:
        there = did_you_mean(places[0]) if places else ""
        return f"no {choice.group} is chosen at {choice.key}.{there}"
    missing = re.match(r"In '.*': Could not override '(.*)'", reason)
    return f"does not fit this command: it has no {missing[1]}." if missing else re.sub(r"\s+", " ", reason)
