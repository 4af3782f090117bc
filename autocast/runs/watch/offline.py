"""Offline runs of Weights & Biases in a run directory: one directory for each time that a process opened the run."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autocast.runs.directory import KINDS, RunDirectory
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.verdicts import UNKNOWN

NAME = re.compile(r"offline-run-(?P<moment>\d{8}_\d{6})-(?P<id>.+)")
QUIET = 15 * 60.0
"""A file that was written to within so many seconds may be written to still, where nobody can be asked."""


@dataclass(frozen=True)
class Part:
    """What one process left of a run."""

    folder: Path
    file: Path

    @property
    def is_synced(self) -> bool:
        return self.file.with_name(f"{self.file.name}.synced").is_file()


@dataclass(frozen=True)
class OfflineRun:
    """The parts of a run under one id, in the order of time."""

    directory: RunDirectory
    kind: str
    id: str
    parts: tuple[Part, ...]
    open_part: Part | None = None
    """The one that is being written to."""

    @property
    def to_upload(self) -> list[Part]:
        return [part for part in self.parts if not part.is_synced and part != self.open_part]

    @property
    def n_synced(self) -> int:
        return sum(part.is_synced for part in self.parts)


def offline_runs(directory: RunDirectory, statuses: Iterable[StageStatus]) -> list[OfflineRun]:
    """Those of every kind; what a stage that goes on writes to is left for later."""
    told = list(statuses)
    found = []
    for kind in KINDS:
        parts: dict[str, list[Part]] = {}
        for folder in sorted((directory.logs_dir(kind) / "wandb").glob("offline-run-*")):
            name, files = NAME.fullmatch(folder.name), sorted(folder.glob("run-*.wandb"))
            if name and files:
                parts.setdefault(name["id"], []).append(Part(folder, files[0]))
        states = [status for status in told if status.stage.kind == kind]
        found += [OfflineRun(directory, kind, id, tuple(some), _open(some, states)) for id, some in parts.items()]
    return found


def _open(parts: list[Part], states: list[StageStatus]) -> Part | None:
    fresh = time.time() - parts[-1].file.stat().st_mtime < QUIET
    goes_on = any(status.is_active for status in states)
    unknown = any(status.state == UNKNOWN for status in states)
    return parts[-1] if fresh and (goes_on or unknown) else None
