"""How a job that was stopped leaves: started again under the same id, or not."""

from __future__ import annotations

from enum import Enum

from autocast.runs.slurm.commands import SchedulerError, ask
from autocast.runs.slurm.queue import queue, show_job
from autocast.runs.slurm.submit import cancel


class Verdict(Enum):
    """What becomes of a job; its value is the event that says so."""

    REQUEUED = "requeued"
    DECIDED = "left"
    """Someone has decided already: it is being cancelled, or preempted, after which Slurm requeues it itself."""
    ENDS = "ended"
    """It is over; someone must resume it by hand."""


def requeue(job_id: str, *, allowed: bool) -> Verdict:
    """Asks for this job to be started again, but only while nobody has ended it.

    A job that is being cancelled is COMPLETING by now. Requeued, it would come back from the dead, and what depends on
    it would wait for ever.
    """
    try:
        job = show_job(job_id)
        if job is not None and job.state != "RUNNING":
            return Verdict.DECIDED
        if not allowed:
            return Verdict.ENDS
        answer = ask("scontrol", "requeue", job_id)
    except SchedulerError:
        return Verdict.ENDS
    return Verdict.REQUEUED if answer.code == 0 else Verdict.ENDS


def cancel_dependents(job_id: str) -> None:
    """Cancels the jobs that wait for this one and never could start; where the site kills them by itself, no need."""
    waiting = [job.job_id for job in queue().values() if job_id in job.upstream]
    if waiting:
        cancel(waiting)
