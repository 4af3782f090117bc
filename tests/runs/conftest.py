"""Stages with journals written by hand, and a scheduler that says what a test wants."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.runs.directory import RunDirectory
from autocast.runs.slurm.queue import SchedulerError, SlurmJob
from autocast.runs.watch.stages import Stage

CONFIG = {
    "datamodule": {"batch_size": 32, "memory_limit": 2.0},
    "trainer": {"max_epochs": 50, "max_steps": -1, "devices": 1, "num_nodes": 1, "gradient_clip_val": 1.0},
    "eval": {"batch_size": None},
    "cluster": {"memory": "64G", "time": 60},
    "batch_size": 64,
}
SLURM_JOB: dict[str, Any] = {
    **dict.fromkeys(("reason", "name", "comment", "partition", "nodes", "dependency"), ""),
    **dict.fromkeys(("exit_code", "signal", "elapsed", "time_limit", "start", "end")),
}


class FakeScheduler:
    """Knows some jobs, and counts what it is asked."""

    def __init__(self, *jobs: SlurmJob, reachable: bool = True):
        self._jobs = {job.job_id: job for job in jobs}
        self.reachable = reachable
        self.asked: list[Any] = []

    def find(self, job_ids: Sequence[str]) -> dict[str, SlurmJob | None]:
        self.asked.append(list(job_ids))
        if not self.reachable:
            raise SchedulerError("squeue: Unable to contact slurm controller")
        return {job_id: self._jobs.get(job_id) for job_id in job_ids}

    def jobs(self) -> dict[str, SlurmJob]:
        if not self.reachable:
            raise SchedulerError("squeue: Unable to contact slurm controller")
        return self._jobs

    def by_comment(self, comment: str) -> SlurmJob | None:
        return next((job for job in self._jobs.values() if job.comment == comment), None)


def slurm_job(job_id: str, state: str, **fields: Any) -> SlurmJob:
    return SlurmJob(job_id=job_id, state=state, **{**SLURM_JOB, **fields})


def write_stage(
    path: Path, *events: tuple[str, dict[str, Any]], kind: str = "epd", stage: str = "train", done: bool = False
) -> Stage:
    """A stage with these events, a minute apart and the last one a minute ago."""
    run = RunDirectory(path)
    run.record_dir(kind, stage).mkdir(parents=True, exist_ok=True)
    run.config_file(kind).write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    run.config_file(kind, stage).parent.mkdir(parents=True, exist_ok=True)
    run.config_file(kind, stage).write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    run.run_file(kind, stage).write_text(json.dumps({"uid": "cafe0001", "parents": [], "mode": "slurm"}))
    first = time.time() - 60 * len(events)
    told = [{"time": first + 60 * i, "event": name, **fields} for i, (name, fields) in enumerate(events)]
    run.events_file(kind, stage).write_text("".join(json.dumps(event) + "\n" for event in told))
    if done:
        run.done_file(kind, stage).write_text(json.dumps({"seconds": 321.0, "products": {}}))
    return Stage(run, kind, stage)


@pytest.fixture
def stage_with(tmp_path: Path) -> Callable[..., Stage]:
    """`stage_with(*events, run="rd/00", kind=, stage=, done=)`, below an output base that is `tmp_path`."""

    def make(*events: tuple[str, dict[str, Any]], run: str = "rd/00", **where: Any) -> Stage:
        return write_stage(tmp_path / run, *events, **where)

    return make


@pytest.fixture
def job() -> Callable[..., SlurmJob]:
    return slurm_job


@pytest.fixture
def scheduler_with() -> type[FakeScheduler]:
    return FakeScheduler
