"""How a job that was stopped leaves: started again under the same id, or not."""

from __future__ import annotations

import sys
import time
from enum import Enum

from autocast.runs.slurm.commands import SchedulerError, UnreachableError, ask
from autocast.runs.slurm.queue import queue, show_job
from autocast.runs.slurm.submit import cancel

PAUSES = (2.0, 5.0, 10.0)
"""Seconds before each further try: a job that was stopped has little time left."""


class Verdict(Enum):
    """What becomes of a job; its value is the event that says so."""

    REQUEUED = "requeued"
    DECIDED = "left"
    """Someone has decided already: it is being cancelled, or preempted, after which Slurm requeues it itself."""
    ENDS = "ended"
    """It is over; someone must resume it by hand."""


def requeue(job_id: str, *, allowed: bool) -> tuple[Verdict, str]:
    """Asks for this job to be started again, but only while nobody has ended it.

    A job that is being cancelled is COMPLETING by now. Requeued, it would come back from the dead, and what depends on
    it would wait for ever.

    Returns:
        What becomes of it, and why it is not requeued.
    """
    if not allowed:
        return Verdict.ENDS, "cluster.requeue=false"
    for pause in (*PAUSES, None):
        try:
            return _requeue(job_id)
        except UnreachableError as error:
            if pause is None:
                return Verdict.ENDS, str(error)
            time.sleep(pause)
        except SchedulerError as error:
            return Verdict.ENDS, str(error)
    raise AssertionError("the last try returns")


def cancel_dependents(job_id: str) -> None:
    """Cancels the jobs that wait for this one and never could start; where the site kills them by itself, no need."""
    try:
        waiting = [job.job_id for job in queue().values() if job_id in job.upstream]
        if waiting:
            cancel(waiting)
    except SchedulerError as error:
        print(f"what waits for this job is left in the queue: {error}", file=sys.stderr, flush=True)


def _requeue(job_id: str) -> tuple[Verdict, str]:
    job = show_job(job_id)
    if job is not None and job.state != "RUNNING":
        return Verdict.DECIDED, f"Slurm says {job.state}"
    answer = ask("scontrol", "requeue", job_id)
    if answer.code != 0:
        raise answer.error
    return Verdict.REQUEUED, ""
