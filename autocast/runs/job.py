"""What a workflow is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocast.runs.console import Screen
from autocast.runs.directory import RunDirectory
from autocast.runs.events import append_event
from autocast.runs.identity import write_json

TRAINING_WORKFLOWS = {"ae": "train_autoencoder", "epd": "train_epd"}
"""The workflow that trains a kind."""
EVALUATION_WORKFLOW = "evaluate"


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

    @property
    def uid(self) -> str:
        return self.directory.run_record(self.kind, self.stage)["uid"]

    def emit(self, event: str, /, **fields: Any) -> None:
        """Appends to the stage's `events.jsonl`."""
        append_event(self.directory.events_file(self.kind, self.stage), event, **fields)

    def record(self, **facts: Any) -> None:
        """Adds facts that only the running job knows (device, data digest) to the stage's `run.json`."""
        known = self.directory.run_record(self.kind, self.stage)
        write_json(self.directory.run_file(self.kind, self.stage), {**known, **facts})

    def header(self, rows: list[tuple[str, str]]) -> None:
        """The opening panel: what will run where."""
        verb = self.kind if self.stage == "train" else f"{self.stage} {self.kind}"
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
