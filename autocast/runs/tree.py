"""The folders of config files: the package's own and the user's. A folder is a group and its files are the options.

An option that only some root configs can have names them in its header, `# @for autoencoder`, among Hydra's own
(`# @package _global_`); several are joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from autocast.runs.problems import Problem, did_you_mean, nearest

BASE = "base"
"""The option of a group that its others extend."""
FOR = re.compile(r"^# @for (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ConfigTree:
    own: Path
    added: tuple[Path, ...] = ()

    @cached_property
    def options(self) -> dict[str, list[str]]:
        """The options of every group, by its name (`encoder`, `a/b` where groups are nested)."""
        found: dict[str, set[str]] = {}
        for directory in (self.own, *self.added):
            for name in _config_names(directory):
                group, _, option = name.rpartition("/")
                if group:
                    found.setdefault(group, set()).add(option)
        return {group: sorted(options) for group, options in found.items()}

    def check(self) -> list[Problem]:
        """Directories of the user's that are not there, and files in them that the package's own would hide."""
        own = set(_config_names(self.own))
        problems = []
        for directory in self.added:
            if not directory.is_dir():
                problems.append(Problem(f"--config-dir {directory}", "no such directory."))
            problems += [
                Problem(f"{directory}/{name}.yaml", "the package has a config of this name. Give it another.")
                for name in _config_names(directory)
                if name in own
            ]
        return problems

    def shown(self, group: str, root: str | None = None) -> list[str]:
        """The options that are meant to be chosen, in a root config or in any."""
        names = [name for name in self.options[group] if name != BASE]
        return [name for name in names if root is None or root in (self.roots(group, name) or [root])]

    def roots(self, group: str, option: str) -> list[str]:
        """The root configs that an option says it is for; none where it does not say."""
        files = (directory / group / f"{option}.yaml" for directory in (self.own, *self.added))
        named = FOR.search(next(file for file in files if file.is_file()).read_text(encoding="utf-8"))
        return named[1].split(",") if named else []

    def no_such_option(self, group: str, option: str, root: str) -> str | None:
        """What to say of an option that is not in its group, or not for this root config; None where it is."""
        if group not in self.options:
            return f"no such group.{did_you_mean(nearest(group, self.options))}"
        roots = self.roots(group, option) if option in self.options[group] else []
        if option in self.options[group] and root in (roots or [root]):
            return None
        shown = self.shown(group, root)
        there = f"There are: {', '.join(shown)}."
        if roots:
            return f"is for {', '.join(roots)}, and not for {root}. {there}"
        return f"no such {group}. {there}{did_you_mean(nearest(option, shown))}"


def config_tree(added: list[Path]) -> ConfigTree:
    return ConfigTree(own_configs(), tuple(dict.fromkeys(added)))


def own_configs() -> Path:
    """`configs/` inside an installed package, else beside it in the repository."""
    package = Path(str(files("autocast")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _config_names(directory: Path) -> Iterator[str]:
    for file in sorted(directory.glob("**/*.yaml")):
        yield file.relative_to(directory).with_suffix("").as_posix()
