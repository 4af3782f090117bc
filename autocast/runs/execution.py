"""Runs a frozen stage: what a job does, in this process, on a laptop and on a node."""

from __future__ import annotations

import importlib
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from autocast.errors import AutocastError, LaunchError
from autocast.runs import ranks
from autocast.runs.attempts import StuckError, SupersededError, begin
from autocast.runs.console import Screen, duration
from autocast.runs.directory import DONE as COMPLETE
from autocast.runs.directory import TRAIN, RunDirectory, UpstreamError
from autocast.runs.environment import allow_recorded_targets, read_environment, redact
from autocast.runs.exits import DONE, FAILED, INTERRUPTED, RESUMES, UPSTREAM
from autocast.runs.identity import fingerprint, write_json
from autocast.runs.job import TRAINING_WORKFLOWS, Job, Outcome
from autocast.runs.parents import await_done, stage_signature, verified
from autocast.signals import StoppedError, StopRequest

WORKFLOWS = "autocast.workflows"
"""It lies above this floor, so it is found by name."""

ENDINGS = {StuckError: ("stuck", FAILED), UpstreamError: ("upstream_incomplete", UPSTREAM)}
"""Errors that have an event and an exit code of their own."""

STATES = {DONE: "done", INTERRUPTED: "interrupted", RESUMES: "stopped", UPSTREAM: "incomplete"}
"""What an exit code says of a stage; any other says that it failed."""

KIND_OF_WORKFLOW = {workflow: kind for kind, workflow in TRAINING_WORKFLOWS.items()}
"""The kind of a training; an evaluation's is found in its directory."""


def execute(workflow: str, run_dir: str, stage: str, screen: Screen | None = None) -> int:
    """Runs a frozen stage from three words.

    Returns:
        The exit code.
    """
    return perform(workflow, RunDirectory(Path(run_dir)), stage, screen or Screen())


def perform(workflow: str, directory: RunDirectory, stage: str, screen: Screen, stop: StopRequest | None = None) -> int:
    """Runs a frozen stage. Of several processes that do so together, the first one tells and writes.

    Args:
        workflow: Its name.
        directory: Of the run.
        stage: Its name.
        screen: Where it is told.
        stop: Shared by stages that follow each other: a training that was asked to stop when it was done anyway ends
            well, and what follows must hear of it.

    Returns:
        The exit code.
    """
    job = _job(workflow, directory, stage, screen, stop or StopRequest())
    if directory.state(job.kind, stage) == COMPLETE:  # a job that a scheduler started once more
        screen.note(f"{directory.path}: {stage} of {job.kind} is done already")
        return DONE
    began = time.time()
    with job.stop.catching(signal.SIGUSR2, signal.SIGTERM):
        code, outcome = _call(job)
        if outcome is not None and ranks.rank() == 0:
            _finish(job, outcome, time.time() - began)
    return code


def document(directory: RunDirectory, kind: str, stage: str, code: int) -> dict[str, Any]:
    """What there is to say of a stage that has ended, for scripts."""
    done = directory.done_record(kind, stage) if code == DONE else None
    return {
        "run": str(directory.path),
        "uid": directory.run_record(kind, stage)["uid"],
        "kind": kind,
        "stage": stage,
        "state": STATES.get(code, "failed"),
        "summary": done["summary"] if done else {},
        "products": list(done["products"]) if done else [],
        "next": done["next"] if done else "",
    }


def kind_of(workflow: str, directory: RunDirectory, stage: str) -> str:
    """The kind that a stage belongs to.

    Raises:
        LaunchError: Nothing of that name was launched in the directory.
    """
    trains = stage == TRAIN and workflow in KIND_OF_WORKFLOW
    kind = KIND_OF_WORKFLOW[workflow] if trains else directory.kind_of_stage(stage)
    if kind is None or not directory.run_file(kind, stage).is_file():
        raise LaunchError(f"{directory.path}: no stage {stage} of {workflow} was launched here")
    return kind


def _job(workflow: str, directory: RunDirectory, stage: str, screen: Screen, stop: StopRequest) -> Job:
    read_environment()
    kind = kind_of(workflow, directory, stage)
    record = directory.run_record(kind, stage)
    allow_recorded_targets(record["user_targets"])
    return Job(
        workflow=workflow,
        directory=directory,
        kind=kind,
        stage=stage,
        config=yaml.safe_load(directory.config_file(kind, stage).read_text(encoding="utf-8")),
        console=screen,
        stop=stop,
        resume_from=_resume_point(directory, kind, stage, record),
        init_from=Path(record["init_from"]) if record["init_from"] else None,
    )


def _resume_point(directory: RunDirectory, kind: str, stage: str, record: dict[str, Any]) -> Path | None:
    """Its own last checkpoint, so that a restarted job goes on; at first the one that it was told to continue."""
    if stage != TRAIN:
        return None
    told = record["resume_from"]
    return directory.last_checkpoint(kind) or (Path(told) if told else None)


def _call(job: Job) -> tuple[int, Outcome | None]:
    try:
        with job.console.standard_output_kept():
            begin(job)
            return DONE, _work(job)
    except StoppedError as stop:
        return _stopped(job, stop), None
    except (KeyboardInterrupt, SystemExit) as error:
        return _left(job, error), None
    except Exception as error:
        return _failed(job, error), None


def _work(job: Job) -> Outcome:
    _check_parents(job)
    function: Callable[[Job], Outcome] = getattr(importlib.import_module(WORKFLOWS), job.workflow)
    return function(job)


def _check_parents(job: Job) -> None:
    """What it stands on must be complete and unchanged; a training that goes on from its own checkpoint has it all."""
    if job.trains and job.directory.last_checkpoint(job.kind):
        return
    record = job.directory.run_record(job.kind, job.stage)
    for other in record.get("after") or ():
        run = RunDirectory(Path(other["run"]))
        await_done(run, other["kind"], other["stage"], seconds=job.cluster["marker_wait"])
    parents = [verified(parent, seconds=job.cluster["marker_wait"]) for parent in record["parents"]]
    if parents != record["parents"]:
        job.record(parents=parents, signature=stage_signature(job.config, job.stage, parents))


def _failed(job: Job, error: Exception) -> int:
    """Journals what went wrong, whichever process it was that met it."""
    trace = traceback.format_exc()
    event, code = next((end for kind, end in ENDINGS.items() if isinstance(error, kind)), ("failed", FAILED))
    told = {"error": type(error).__name__, "message": str(error), "code": code, "rank": ranks.rank()}
    if not isinstance(error, SupersededError):  # the journal is another job's
        job.emit_from_any_rank(event, **told, traceback=trace)
    if isinstance(error, AutocastError):
        job.console.error(redact(f"{job.directory.path}: {error}"))
    else:
        sys.stderr.write(redact(trace))
    return code


def _left(job: Job, error: KeyboardInterrupt | SystemExit) -> int:
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return _interrupted(job)  # Lightning's Trainer turns Ctrl-C into an exit
    code = error.code if isinstance(error.code, int) and error.code else FAILED
    told = {"error": "SystemExit", "message": str(error.code), "code": code, "rank": ranks.rank()}
    job.emit_from_any_rank("failed", **told, traceback=traceback.format_exc())
    return code


def _stopped(job: Job, stop: StoppedError) -> int:
    """A signal asked for it, and what was reached is saved."""
    job.emit("stopped", reason=stop.reason, step=stop.step, epoch=stop.epoch, code=RESUMES)
    saved = f" after step {stop.step:,}, saved" if job.trains else "; what it has made is kept"
    job.console.note(f"stopped by {stop.reason}{saved}")
    return RESUMES


def _interrupted(job: Job) -> int:
    job.emit("interrupted", code=INTERRUPTED)
    again = f"autocast {job.kind} --resume-from {job.directory.quoted}" if job.trains else "the same command"
    job.console.error(f"interrupted. Go on with: {again}")
    return INTERRUPTED


def _finish(job: Job, outcome: Outcome, seconds: float) -> None:
    """The marker is written last: only it means done."""
    job.emit("finished", seconds=round(seconds, 1), summary=outcome.summary)
    done = {
        "uid": job.uid,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(seconds, 1),
        "summary": outcome.summary,
        "next": outcome.next_command,
        "products": {_relative(job, file): fingerprint(file) for file in outcome.products},
    }
    write_json(job.directory.done_file(job.kind, job.stage), done)
    following = [("next", outcome.next_command)] if outcome.next_command else []
    job.console.panel(f"done  {job.directory.path}  in {duration(seconds)}", [*outcome.rows, *following])


def _relative(job: Job, file: Path) -> str:
    return file.resolve().relative_to(job.directory.path.resolve()).as_posix()
