"""A folder with a data set where commands are typed, and the stages of the run that they make."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.directory import RunDirectory

SMALL = ("model.processor=direct", "model.processor.backbone.width=8", "model.processor.backbone.levels=1")
QUICK_EVAL = ("eval.video=false", "eval.n_members=2", "eval.metrics=[vrmse]", "eval.baselines=[]")
TARGETS = str(Path(__file__).parent)
"""Where `tracing` is found."""
PATIENCE = 240
"""Seconds for what takes a few: two processes share the machine with other tests."""


class Workplace:
    """A folder with a data set, and the command line in it."""

    def __init__(self, path: Path, data: Path, commands: Path):
        self.path = path
        self.commands = commands
        self.env = {**os.environ, "AUTOCAST_DATASETS": str(data.parent), "PYTHONPATH": TARGETS}
        self.env |= {"AUTOCAST_TARGETS": "tracing", "OMP_NUM_THREADS": "1"}
        self.slow = path / "slow"

    def run(self, line: str, *words: str, code: int = 0) -> str:
        """The output of `autocast LINE WORDS`, which must end with `code`."""
        done = subprocess.run(
            [self.commands / "autocast", *line.split(), *words],
            cwd=self.path, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def train(self, line: str, *words: str, slow: float = 0.1, run: str = "rd/00", **trace: Any) -> Stage:
        """Submits a training that writes what its steps see, and is held back while the file `slow` is there."""
        self.slow.touch()
        traced = {
            "_target_": "tracing.Trace",
            "file": str(self.path / "trace"),
            "slow": str(self.slow),
            "seconds": slow,
        }
        spelt = ",".join(f"{key}:{value}" for key, value in {**traced, **trace}.items())
        self.run(
            f"{line} --mode slurm --detach --dataset waves --date {run.replace('/', ' --run-name ')}",
            "datamodule.batch_size=4", *SMALL, f"+callbacks.trace={{{spelt}}}", *words,
        )  # fmt: skip
        return Stage(self, "epd", "train", run)

    def states(self, run: str = "rd/00") -> dict[str, str]:
        """What `status` says of the stages of a run."""
        return {stage["stage"]: stage["state"] for stage in json.loads(self.run(f"status {run} --json"))["stages"]}

    def steps(self, rank: int = 0) -> list[dict[str, Any]]:
        file = self.path / f"trace.{rank}"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Stage:
    """A stage of the run `rd/00`, or of another one."""

    def __init__(self, place: Workplace, kind: str, stage: str, run: str = "rd/00"):
        self.place, self.kind, self.name = place, kind, stage
        self.run = RunDirectory(place.path / "outputs" / run)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.run.events(self.kind, self.name)

    def said(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    @property
    def job_id(self) -> str:
        return str(self.said("submitted")[-1]["job_id"])

    @property
    def is_done(self) -> bool:
        return self.run.done_file(self.kind, self.name).is_file()

    def wait_for_steps(self, n: int) -> None:
        wait_until(lambda: len(self.place.steps()) >= n, f"{n} steps", self)

    def wait_for(self, event: str, n: int = 1) -> None:
        wait_until(lambda: len(self.said(event)) >= n, f"{n} x {event}", self)


def wait_until(condition: Callable[[], bool], what: str, stage: Stage | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            logs = sorted(stage.run.logs_dir(stage.kind).glob("*_log.*")) if stage else []
            told = "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs)
            pytest.fail(f"never came to: {what}\n{stage.events if stage else ''}\n{told}")
        time.sleep(0.2)
