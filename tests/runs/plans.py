"""Runs, plans and schedulers, written down rather than made: for tests of what stages stand on and wait for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from autocast.runs.decision import START, Decision
from autocast.runs.directory import RunDirectory
from autocast.runs.identity import fingerprint
from autocast.runs.job import EVALUATION_WORKFLOW, TRAINING_WORKFLOWS
from autocast.runs.parents import Parent
from autocast.runs.place import Place
from autocast.runs.plan import MODEL, Checked, Plan
from autocast.runs.request import SLURM, Request
from autocast.runs.slurm.queue import SchedulerError, SlurmJob
from autocast.runs.spine import Cluster

REQUEST = Request("train-eval", mode=SLURM)


class Jobs:
    """A scheduler that knows some jobs."""

    def __init__(self, *jobs: SlurmJob, reachable: bool = True):
        self._jobs = {job.job_id: job for job in jobs}
        self.reachable = reachable

    def jobs(self) -> dict[str, SlurmJob]:
        if not self.reachable:
            raise SchedulerError("squeue: Unable to contact slurm controller")
        return self._jobs

    def find(self, job_ids: Iterable[str]) -> dict[str, SlurmJob | None]:
        return {job_id: self.jobs().get(job_id) for job_id in job_ids}

    def by_comment(self, comment: str) -> SlurmJob | None:
        return next((job for job in self.jobs().values() if job.comment == comment), None)


def config(**cluster: Any) -> dict[str, Any]:
    return {
        "seed": 1,
        "datamodule": {"data_path": "datasets/waves"},
        "trainer": {"max_epochs": 3},
        "cluster": {**asdict(Cluster()), **cluster},
    }


def trained(path: Path, *events: dict[str, Any], kind: str = "epd", done: bool = True, uid: str = "cafe0001") -> Path:
    """The checkpoint of a training, and all that says whether it is complete."""
    run = RunDirectory(path)
    checkpoint = run.checkpoint_file(kind)
    run.record_dir(kind, "train").mkdir(parents=True)
    run.config_file(kind).write_text(yaml.safe_dump(config()))
    run.run_file(kind, "train").write_text(json.dumps({"uid": uid}))
    run.events_file(kind, "train").write_text("".join(json.dumps({"time": 1.0, **event}) + "\n" for event in events))
    checkpoint.write_text(f"weights of {kind}")
    if done:
        write_marker(checkpoint, kind)
    return checkpoint


def write_marker(checkpoint: Path, kind: str = "epd") -> None:
    """At once, as runs do."""
    marker = RunDirectory(checkpoint.parent).done_file(kind, "train")
    products = {checkpoint.name: fingerprint(checkpoint)}
    partial = marker.with_suffix(".partial")
    partial.write_text(json.dumps({"products": products, "seconds": 1.0}))
    partial.rename(marker)


def training(path: Path, *parents: Parent, kind: str = "epd", **cluster: Any) -> Plan:
    return _plan(path, kind, "train", TRAINING_WORKFLOWS[kind], parents, cluster)


def evaluation(path: Path, *parents: Parent, kind: str = "epd", stage: str = "eval", **cluster: Any) -> Plan:
    run = RunDirectory(path)
    own = Parent(MODEL, run.checkpoint_file(kind), run, kind, pending=True)
    return _plan(path, kind, stage, EVALUATION_WORKFLOW, parents or (own,), cluster)


def _plan(
    path: Path, kind: str, stage: str, workflow: str, parents: tuple[Parent, ...], cluster: dict[str, Any]
) -> Plan:
    run = RunDirectory(path)
    decision = Decision(START, run)
    return Plan(REQUEST, Place(kind, stage, run), workflow, Checked(config(**cluster)), decision, "0badcafe", parents)
