"""Overrides applied to a composed config one by one, so that each mistake is named by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autocast.runs.overrides import Typed
from autocast.runs.problems import Problem, did_you_mean, nearest
from autocast.runs.signatures import Signatures
from autocast.runs.spine import OPEN, ROOTS, SECTIONS, dataclass_name
from autocast.runs.tree import ConfigTree


@dataclass(frozen=True)
class Editor:
    """Changes a config as overrides ask.

    A key may be set if the config has it, or if what the section constructs takes it: `trainer.overfit_batches=1` needs
    no `+` although no file mentions it.
    """

    config: DictConfig
    root: str
    tree: ConfigTree
    signatures: Signatures

    def apply(self, overrides: Iterable[Typed]) -> list[Problem]:
        return [problem for override in overrides if (problem := self._apply(override))]

    def _apply(self, override: Typed) -> Problem | None:
        exists = self._exists(override.key)
        if override.deletes:
            return self._delete(override) if exists else self._unknown(override)
        if override.adds and exists and not isinstance(override.value, dict | list):
            return Problem(override.text, f"is there already. Write {override.text[1:]} to change it.")
        if not (exists or override.adds or override.forces or self._may_hold(override.key)):
            return self._unknown(override)
        try:
            OmegaConf.update(self.config, override.key, override.value, merge=True, force_add=True)
        except OmegaConfBaseException as error:
            return Problem(override.text, f"cannot be set ({str(error).splitlines()[0]}).")
        return None

    def _exists(self, key: str) -> bool:
        parent, _, last = key.rpartition(".")
        node = self._node(parent)
        if isinstance(node, ListConfig):
            return last.isdigit() and int(last) < len(node)
        return isinstance(node, DictConfig) and last in node.keys()  # noqa: SIM118 - `in` says no to `???`

    def _may_hold(self, key: str) -> bool:
        parent, _, last = key.rpartition(".")
        return last in self._keywords(parent) or (parent in OPEN and isinstance(self._node(parent), DictConfig))

    def _keywords(self, path: str) -> list[str]:
        """Keys that a section's constructor or dataclass takes."""
        node = self._node(path)
        if not isinstance(node, DictConfig):
            return []
        section = SECTIONS.get(path) if path else ROOTS[self.root]
        if section is None and "_target_" not in node:
            return []
        target = dataclass_name(section) if section else str(node["_target_"])
        try:
            return self.signatures.read(target).settable(node)
        except LookupError:  # said by the checks
            return []

    def _node(self, key: str) -> Any:
        try:
            return OmegaConf.select(self.config, key, throw_on_missing=False) if key else self.config
        except OmegaConfBaseException:
            return None

    def _delete(self, override: Typed) -> Problem | None:
        parent, _, last = override.key.rpartition(".")
        current = OmegaConf.select(self.config, override.key)
        if override.value is not None and override.value != current:
            return Problem(override.text, f"cannot be deleted: the value is {current}.")
        OmegaConf.set_struct(self.config, False)
        del self._node(parent)[int(last) if last.isdigit() else last]
        return None

    def _unknown(self, override: Typed) -> Problem:
        meant = self._meant(override.key)
        message = f"no such key.{did_you_mean(' or '.join(meant)) if meant else self._listed(override.key)}"
        group = meant[0].rpartition(".")[2] if meant and meant[0].startswith("model.") else None
        if group in self.tree.options and isinstance(override.value, str):
            no_option = self.tree.no_such_option(str(group), override.value, self.root)
            message += f" And {override.value}: {no_option}" if no_option else ""
        return Problem(override.text, message)

    def _meant(self, key: str) -> list[str]:
        """A key beside it, one of the same name elsewhere, or one that is spelt much alike."""
        parent, _, last = key.rpartition(".")
        known = [*_keys("", self.config), *self.tree.options]
        beside = nearest(last, self._beside(key))
        if beside:
            return [f"{parent}.{beside}" if parent else beside]
        namesakes = [name for name in known if name.rpartition(".")[2] == last]
        near = nearest(key, [name for name in known if name != parent], cutoff=0.75)
        by_spelling = [near] if near else []
        return (by_spelling or namesakes[:3]) if parent else (namesakes[:3] or by_spelling)

    def _beside(self, key: str) -> list[str]:
        """The names that a section has or takes."""
        parent = key.rpartition(".")[0]
        node = self._node(parent)
        present = [str(name) for name in node] if isinstance(node, DictConfig) else []
        return list(dict.fromkeys([*present, *self._keywords(parent)]))

    def _listed(self, key: str) -> str:
        names = [name for name in self._beside(key) if not name.startswith("_")] if "." in key else []
        return f" There are: {', '.join(names)}." if names else ""


def _keys(path: str, node: DictConfig) -> Iterator[str]:
    for name in map(str, node):
        key = f"{path}.{name}" if path else name
        yield key
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            yield from _keys(key, child)
