"""What runs where a stage was sent: a task of a scheduler's job, a process of torchrun, a detached child."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from autocast.runs import ranks
from autocast.runs.attempts import before_this_attempt, n_attempts
from autocast.runs.console import Screen
from autocast.runs.directory import RunDirectory, read_config
from autocast.runs.environment import read_environment
from autocast.runs.events import append_event, this_process
from autocast.runs.execution import kind_of, perform
from autocast.runs.exits import DONE, INTERRUPTED, RESUMES
from autocast.runs.job import AND, cluster_section
from autocast.runs.local import needs_torchrun, run_with_torchrun
from autocast.signals import StopRequest


def run_job(workflow: str, run_dir: str, stage: str) -> None:
    """A task of a scheduler's job. Leaves with the exit code of what it ran."""
    ranks.name_main_address()
    sys.exit(_leave(*run_stages(workflow, run_dir, stage)))


def run_stages(workflow: str, run_dir: str, stage: str) -> tuple[int, RunDirectory, str, str]:
    """Runs the stages of a job until one does not end well.

    Returns:
        The exit code, and the run, kind and name of the last one.
    """
    read_environment()
    directory = RunDirectory(Path(run_dir))
    screen = Screen() if ranks.rank() == 0 else Screen.silent()
    code, kind, name, stop = DONE, "", "", StopRequest()
    with stop.catching(signal.SIGUSR2, signal.SIGTERM):
        for n, following in enumerate(stage.split(AND)):
            if n and (code != DONE or ranks.rank() != 0):  # what follows a training runs in one process
                break
            name = following
            kind = kind_of(workflow, directory, name)
            own = directory.run_record(kind, name)["workflow"]
            _mark_logs(directory, kind, name)
            several = needs_torchrun(own, run_dir, name)
            code = run_with_torchrun(own, run_dir, name) if several else perform(own, directory, name, screen, stop)
    return code, directory, kind, name


def main(words: list[str] | None = None) -> None:
    """`python -m autocast.runs.node WORKFLOW RUN_DIR STAGE`: a detached child, or one of torchrun's processes."""
    code = run_stages(*(words or sys.argv[1:]))[0]
    # torchrun takes every code for a crash, and says so at length; the journal has the true one.
    sys.exit(DONE if ranks.inside_torchrun() and code in (RESUMES, INTERRUPTED) else code)


def _mark_logs(directory: RunDirectory, kind: str, stage: str) -> None:
    """Logs are appended to over restarts: a line says where each attempt begins, on every rank and stream."""
    attempt = 1 + n_attempts(before_this_attempt(directory.events(kind, stage)))
    where = f"job {ranks.job_id() or 'local'} rank {ranks.rank()} host {this_process()['host']}"
    line = f"=== autocast {kind} {stage} attempt {attempt} {where} {time.strftime('%Y-%m-%dT%H:%M:%S%z')} ==="
    for stream in (sys.stdout, sys.stderr):
        print(line, file=stream, flush=True)


def _leave(code: int, directory: RunDirectory, kind: str, stage: str) -> int:
    """Hands the job back to the scheduler: to be started again, or with nothing left waiting for it.

    Returns:
        The exit code of this task. Of several, the first one speaks for all: another one that fails makes srun end it.
    """
    job_id = ranks.job_id()
    if code == DONE or job_id is None:
        return code
    if ranks.rank() != 0:
        return DONE if code == RESUMES else code
    from autocast.runs.slurm.requeue import Verdict, cancel_dependents, requeue

    cluster = cluster_section(read_config(directory.config_file(kind, stage)))
    verdict, why = requeue(job_id, allowed=cluster["requeue"]) if code == RESUMES else (Verdict.ENDS, "")
    if code == RESUMES:
        append_event(directory.events_file(kind, stage), verdict.value, job_id=job_id, message=why)
    if verdict is Verdict.ENDS and not (cluster["kill_on_invalid_dependency"] and code != RESUMES):
        cancel_dependents(job_id)
    return code


if __name__ == "__main__":
    main()
