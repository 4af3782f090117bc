"""What a workflow is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autocast.runs import ranks
from autocast.runs.console import Screen
from autocast.runs.directory import TRAIN, RunDirectory, is_cache
from autocast.runs.events import append_event
from autocast.runs.identity import write_json
from autocast.runs.spine import Cluster
from autocast.signals import StopRequest

TRAINING_WORKFLOWS = {"ae": "train_autoencoder", "epd": "train_epd", "processor": "train_processor"}
"""The workflow that trains a kind."""
EVALUATION_WORKFLOW = "evaluate"
CACHE_WORKFLOW = "cache_latents"
AND = "+"
"""Joins the stages of a job that runs several, one after the other: `train+eval`."""


@dataclass(frozen=True)
class Job:
    """One stage of one run, with the config that was frozen when it was launched."""

    workflow: str
    directory: RunDirectory
    kind: str
    stage: str
    config: dict[str, Any]
    console: Screen
    resume_from: Path | None = None
    """A checkpoint to continue from: optimiser, epoch and all."""
    init_from: Path | None = None
    """A checkpoint whose weights to start from."""
    stop: StopRequest = field(default_factory=StopRequest)
    """Set by a signal; the work looks at it at its next boundary."""

    @property
    def uid(self) -> str:
        return self.directory.run_record(self.kind, self.stage)["uid"]

    @property
    def trains(self) -> bool:
        return self.stage == TRAIN

    @property
    def max_attempts(self) -> int:
        """How often a scheduler may start it, as long as nobody resumes it by hand."""
        return self.cluster["max_attempts"]

    @property
    def cluster(self) -> dict[str, Any]:
        """What it asked a scheduler for."""
        return cluster_section(self.config)

    def emit(self, event: str, /, **fields: Any) -> None:
        """Appends to the stage's `events.jsonl`; of several processes the first one does."""
        if ranks.rank() == 0:
            self.emit_from_any_rank(event, **fields)

    def emit_from_any_rank(self, event: str, /, **fields: Any) -> None:
        append_event(self.directory.events_file(self.kind, self.stage), event, **fields)

    def recorded(self, fact: str) -> Any:
        """A fact of the stage's `run.json`; None where it is not there yet."""
        return self.directory.run_record(self.kind, self.stage).get(fact)

    def record(self, **facts: Any) -> None:
        """Adds facts that only the running job knows (device, data digest) to the stage's `run.json`."""
        if ranks.rank() != 0:
            return
        known = self.directory.run_record(self.kind, self.stage)
        write_json(self.directory.run_file(self.kind, self.stage), {**known, **facts})

    def header(self, rows: list[tuple[str, str]]) -> None:
        """The opening panel: what will run where."""
        verb = self.kind if self.trains else self.stage if is_cache(self.stage) else f"{self.stage} {self.kind}"
        self.console.panel(f"{verb}  {self.directory.path}", rows)


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    summary: dict[str, Any] = field(default_factory=dict)
    """Figures for `--json` and `DONE.json`."""
    rows: list[tuple[str, str]] = field(default_factory=list)
    """Lines of the closing panel: a word and what it says."""
    next_command: str = ""
    """What to type next."""
    products: list[Path] = field(default_factory=list)
    """Files whose digests go into `DONE.json`."""


def cluster_section(config: Mapping[str, Any]) -> dict[str, Any]:
    """The section `cluster` of a config; what it lacks, as a run of an earlier version does, has its default."""
    return {**asdict(Cluster()), **(config.get("cluster") or {})}
