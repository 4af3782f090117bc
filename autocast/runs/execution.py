"""Runs a frozen stage: what a job does, in this process, on a laptop and on a node."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from autocast.errors import AutocastError, LaunchError
from autocast.runs.console import Screen, duration
from autocast.runs.directory import DONE as COMPLETE
from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.environment import allow_recorded_targets, read_dotenv, redact
from autocast.runs.events import this_process
from autocast.runs.exits import DONE, FAILED, INTERRUPTED
from autocast.runs.identity import fingerprint, write_json
from autocast.runs.job import TRAINING_WORKFLOWS, Job, Outcome

WORKFLOWS = "autocast.workflows"
"""It lies above this floor, so it is found by name."""

KIND_OF_WORKFLOW = {workflow: kind for kind, workflow in TRAINING_WORKFLOWS.items()}
"""The kind of a training; an evaluation's is found in its directory."""


def execute(workflow: str, run_dir: str, stage: str, screen: Screen | None = None) -> int:
    """Runs a frozen stage from three words.

    Returns:
        The exit code.
    """
    return perform(workflow, RunDirectory(Path(run_dir)), stage, screen or Screen())[0]


def perform(workflow: str, directory: RunDirectory, stage: str, screen: Screen) -> tuple[int, dict[str, Any]]:
    """Runs a frozen stage.

    Returns:
        The exit code, and what there is to say of the stage in a document.
    """
    job = _job(workflow, directory, stage, screen)
    if directory.state(job.kind, stage) == COMPLETE:  # a job that a scheduler started once more
        screen.note(f"{directory.path}: {stage} of {job.kind} is done already")
        return DONE, _document(job, DONE, None)
    function: Callable[[Job], Outcome] = getattr(importlib.import_module(WORKFLOWS), workflow)
    attempt = 1 + sum(event["event"] == "started" for event in directory.events(job.kind, stage))
    began = time.time()
    job.emit("started", attempt=attempt, resume_from=job.resume_from, **this_process())
    code, outcome = _call(function, job)
    if outcome is not None:
        _finish(job, outcome, time.time() - began)
    return code, _document(job, code, outcome)


def _job(workflow: str, directory: RunDirectory, stage: str, screen: Screen) -> Job:
    read_dotenv()
    kind = KIND_OF_WORKFLOW[workflow] if workflow in KIND_OF_WORKFLOW else directory.kind_of_stage(stage)
    if kind is None or not directory.run_file(kind, stage).is_file():
        raise LaunchError(f"{directory.path}: no stage {stage} of {workflow} was launched here")
    record = directory.run_record(kind, stage)
    allow_recorded_targets(record["user_targets"])
    return Job(
        workflow=workflow,
        directory=directory,
        kind=kind,
        stage=stage,
        config=yaml.safe_load(directory.config_file(kind, stage).read_text(encoding="utf-8")),
        console=screen,
        resume_from=_resume_point(directory, kind, stage, record),
        init_from=Path(record["init_from"]) if record["init_from"] else None,
    )


def _resume_point(directory: RunDirectory, kind: str, stage: str, record: dict[str, Any]) -> Path | None:
    """Its own last checkpoint, so that a restarted job goes on; at first the one that it was told to continue."""
    if stage != TRAIN:
        return None
    told = record["resume_from"]
    return directory.last_checkpoint(kind) or (Path(told) if told else None)


def _call(function: Callable[[Job], Outcome], job: Job) -> tuple[int, Outcome | None]:
    try:
        with job.console.standard_output_kept():
            return DONE, function(job)
    except AutocastError as error:
        job.emit("failed", error=type(error).__name__, message=str(error), traceback=traceback.format_exc())
        job.console.error(redact(f"{job.directory.path}: {error}"))
        return FAILED, None
    except KeyboardInterrupt:
        return _interrupted(job), None
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's Trainer turns Ctrl-C into an exit
            return _interrupted(job), None
        job.emit("failed", error="SystemExit", message=str(error.code), traceback=traceback.format_exc())
        return error.code if isinstance(error.code, int) and error.code else FAILED, None
    except Exception as error:
        job.emit("failed", error=type(error).__name__, message=str(error), traceback=traceback.format_exc())
        sys.stderr.write(redact(traceback.format_exc()))
        return FAILED, None


def _interrupted(job: Job) -> int:
    job.emit("interrupted")
    again = f"autocast {job.kind} --resume-from {job.directory.quoted}" if job.stage == TRAIN else "the same command"
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
        "products": {_relative(job, file): fingerprint(file) for file in outcome.products},
    }
    write_json(job.directory.done_file(job.kind, job.stage), done)
    following = [("next", outcome.next_command)] if outcome.next_command else []
    job.console.panel(f"done  {job.directory.path}  in {duration(seconds)}", [*outcome.rows, *following])


def _relative(job: Job, file: Path) -> str:
    return file.resolve().relative_to(job.directory.path.resolve()).as_posix()


def _document(job: Job, code: int, outcome: Outcome | None) -> dict[str, Any]:
    state = {DONE: "done", INTERRUPTED: "interrupted"}
    return {
        "run": str(job.directory.path),
        "uid": job.uid,
        "kind": job.kind,
        "stage": job.stage,
        "state": state.get(code, "failed"),
        "summary": outcome.summary if outcome else {},
        "products": [_relative(job, file) for file in outcome.products] if outcome else [],
        "next": outcome.next_command if outcome else "",
    }
