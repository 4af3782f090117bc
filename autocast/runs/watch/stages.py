"""The stages of runs, and which of them a user means by a RUN."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autocast.errors import ConfigError
from autocast.runs.directory import RunDirectory, all_runs, find_run


class Stage(NamedTuple):
    """One stage of one kind in one run directory."""

    directory: RunDirectory
    kind: str
    stage: str

    @property
    def label(self) -> str:
        """`rd/00 epd train`."""
        return f"{self.directory.label} {self.name}"

    @property
    def name(self) -> str:
        """`epd train`."""
        return f"{self.kind} {self.stage}"

    @property
    def place(self) -> dict[str, Any]:
        """What a document calls it."""
        return {"run": str(self.directory.path), "kind": self.kind, "stage": self.stage}

    @property
    def is_done(self) -> bool:
        return self.directory.done_file(self.kind, self.stage).is_file()


def stages_of(run: RunDirectory) -> list[Stage]:
    """Every stage that was launched in a run: kinds in their order, training first."""
    return [Stage(run, kind, stage) for kind, stage in run.launched()]


def all_stages(output_base: Path) -> list[Stage]:
    return [stage for run in all_runs(output_base) for stage in stages_of(run)]


def find_stages(names: Sequence[str], output_base: Path) -> list[Stage]:
    """The stages of the runs that `names` mean, each once; of all runs where there are no names.

    Raises:
        NoSuchRunError: A name means no run, or more than one.
    """
    if not names:
        return all_stages(output_base)
    found = {run.path.absolute(): run for run in (find_run(name, output_base) for name in names)}
    return [stage for run in found.values() for stage in stages_of(run)]


def matching(run: RunDirectory, kind: str | None, stage: str | None) -> list[Stage]:
    """The stages of a run, of the given kind and name where they are given.

    Raises:
        ConfigError: There are none.
    """
    there = stages_of(run)
    found = [one for one in there if kind in (None, one.kind) and stage in (None, one.stage)]
    if found or not (kind or stage):
        return found
    wanted = " ".join(f"--{option} {word}" for option, word in (("kind", kind), ("stage", stage)) if word)
    raise ConfigError(f"{wanted}: not in {run.path}. It has: {', '.join(one.name for one in there) or 'no stages'}")
