"""Why a stage is where it is: one cause out of a list, from its state, its exit code, its journal and its logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from autocast.runs.directory import TRAIN, is_cache
from autocast.runs.watch import verdicts
from autocast.runs.watch.failures import Failure, Tails, first_failure, read_tails
from autocast.runs.watch.journal import Journal
from autocast.runs.watch.state import StageStatus

SIGKILL, LAUNCH_FAILURE = 9, 53
UPSTREAM_INCOMPLETE = 78


@dataclass(frozen=True)
class Evidence:
    """What is known of a stage."""

    status: StageStatus
    journal: Journal
    tails: Tails

    @cached_property
    def failure(self) -> Failure | None:
        return first_failure(self.journal, self.tails)

    @property
    def told(self) -> str:
        """The exception's own words."""
        return f"{self.failure.error}: {self.failure.message}" if self.failure else ""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The frozen config of the stage."""
        stage = self.status.stage
        return yaml.safe_load(stage.directory.config_file(stage.kind, stage.stage).read_text(encoding="utf-8"))

    @property
    def trains(self) -> bool:
        return self.status.stage.stage == TRAIN

    @property
    def caches(self) -> bool:
        return is_cache(self.status.stage.stage)

    @property
    def slurm(self) -> str:
        return self.status.job.state if self.status.job else ""

    @property
    def exit_code(self) -> int | None:
        return self.status.job.exit_code if self.status.job else None

    @property
    def signal(self) -> int | None:
        job = self.status.job
        if job is None:
            return None
        return job.signal or (job.exit_code - 128 if job.exit_code and job.exit_code > 128 else None)

    @property
    def stopped_by(self) -> str | None:
        ended = self.journal.ended
        return ended["reason"] if ended and ended["event"] == "stopped" else None

    def closed_by(self, *events: str) -> bool:
        return self.journal.closed is not None and self.journal.closed["event"] in events

    def says(self, pattern: str) -> bool:
        """Whether the exception or the end of a log has such words."""
        return re.search(pattern, f"{self.told}\n{self.tails.text}") is not None


def evidence(status: StageStatus, journal: Journal) -> Evidence:
    return Evidence(status, journal, read_tails(status.stage, journal))


def cause(found: Evidence) -> str:
    """The first cause of the list that the evidence speaks for."""
    return next((name for name, speaks in CAUSES.items() if speaks(found)), "unexplained")


CAUSES: dict[str, Callable[[Evidence], bool]] = {
    "done": lambda e: e.status.state == verdicts.DONE,
    "running": lambda e: e.status.state == verdicts.RUNNING,
    "pending": lambda e: e.status.state in verdicts.ACTIVE,
    "scheduler unreachable": lambda e: e.status.state == verdicts.UNKNOWN,
    "not started": lambda e: e.status.state == verdicts.LAUNCHED,
    "aborted": lambda e: e.closed_by("aborted"),
    "interrupted": lambda e: e.closed_by("interrupted"),
    "stuck": lambda e: e.closed_by("stuck"),
    "upstream incomplete": lambda e: e.closed_by("upstream_incomplete") or e.exit_code == UPSTREAM_INCOMPLETE,
    "cancelled": lambda e: e.status.state == verdicts.CANCELLED,
    "diverged": lambda e: e.told.startswith("DivergenceError"),
    "CUDA out of memory": lambda e: "CUDA out of memory" in e.told or e.told.startswith("OutOfMemoryError"),
    "disk full": lambda e: e.says(r"No space left on device|[Dd]isk quota exceeded"),
    "time limit": lambda e: e.slurm == "TIMEOUT" or e.stopped_by == "SIGUSR2" or e.says("DUE TO TIME LIMIT"),
    "out of memory": lambda e: (
        e.slurm == "OUT_OF_MEMORY"
        or e.told.startswith("MemoryError")
        or e.says(r"oom[-_ ]?kill|Out Of Memory|Cannot allocate memory|DefaultCPUAllocator: can't allocate")
    ),
    "node failure": lambda e: e.slurm in ("NODE_FAIL", "BOOT_FAIL") or e.says("DUE TO NODE FAILURE"),
    "preempted": lambda e: e.slurm == "PREEMPTED" or e.says("DUE TO PREEMPTION"),
    "stopped": lambda e: e.stopped_by is not None,
    "launch failure": lambda e: LAUNCH_FAILURE in (e.signal, e.exit_code),
    "environment": lambda e: (
        e.told.startswith(("ModuleNotFoundError", "ImportError"))
        or (e.journal.started is None and e.failure is None and e.slurm == "FAILED" and e.signal is None)
    ),
    "killed": lambda e: e.signal == SIGKILL or e.says(r"killed by signal: Killed|\bSIGKILL\b|signal 9"),
    "cancelled by Slurm": lambda e: e.failure is None and e.says(r"\*\*\* (?:JOB|STEP) \S+ .*CANCELLED AT"),
    "exception": lambda e: e.failure is not None,
    "lost": lambda e: e.status.state == verdicts.LOST,
}
"""In order: what is told outright before what is read from logs, and the special before the general."""
