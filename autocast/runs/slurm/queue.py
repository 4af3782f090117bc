"""What the scheduler knows of jobs: its queue first, then the accounting, where there is one."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping, Sequence

from autocast.runs.slurm.commands import AbsentError, SchedulerError, ask
from autocast.runs.slurm.jobs import COLUMNS, RECORDS, SlurmJob, columns, moment, of_accounting, of_controller, of_queue
from autocast.runs.slurm.reasons import REASONS, in_words

__all__ = ["REASONS", "Scheduler", "SchedulerError", "SlurmJob", "accounting", "in_words", "queue", "show_job"]

SEPARATOR = "\x1f"
UNKNOWN_JOB = "invalid job id"


def queue() -> dict[str, SlurmJob]:
    """This user's jobs by id, also those that ended a moment ago; one call.

    Raises:
        SchedulerError: The scheduler cannot be asked.
    """
    fields = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
    answer = ask("squeue", "--noheader", f"--user={os.getuid()}", "--states=all", "--array", f"--Format={fields}")
    if answer.code != 0:
        raise answer.error
    rows = (columns(line) for line in answer.out.splitlines())
    return {job.job_id: job for row in rows if row for job in [of_queue(row)]}


def accounting(job_ids: Sequence[str]) -> dict[str, SlurmJob] | None:
    """Jobs by id as the accounting has them, of a requeued one its latest start; one call.

    Returns:
        None where there is no accounting, or it does not answer.
    """
    records = _accounting(job_ids)
    return None if records is None else {job.job_id: job for _, job in records}


def show_job(job_id: str) -> SlurmJob | None:
    """A job as the controller has it; None where it does not know it.

    Raises:
        SchedulerError: The scheduler cannot be asked.
    """
    answer = ask("scontrol", "show", "job", "--oneliner", job_id)
    if UNKNOWN_JOB in answer.said.lower():
        return None
    if answer.code != 0:
        raise answer.error
    shown = (of_controller(line) for line in answer.out.splitlines() if line.startswith("JobId="))
    return next((job for job in shown if job.job_id == job_id), None)


class Scheduler:
    """Answers from at most one call of squeue and one of sacct."""

    def __init__(self) -> None:
        self._jobs: dict[str, SlurmJob] | None = None
        self._past: dict[str, SlurmJob | None] = {}

    def jobs(self) -> dict[str, SlurmJob]:
        """The queue.

        Raises:
            SchedulerError: The scheduler cannot be asked.
        """
        if self._jobs is None:
            self._jobs = queue()
        return self._jobs

    def find(self, job_ids: Iterable[str]) -> Mapping[str, SlurmJob | None]:
        """Each of the jobs; None for one that nobody knows any more.

        Raises:
            SchedulerError: The scheduler cannot be asked; then nothing is known of any of them.
        """
        wanted = list(dict.fromkeys(job_ids))
        if not wanted:
            return {}
        queued = self.jobs()
        missing = [job_id for job_id in wanted if job_id not in queued and job_id not in self._past]
        if missing:
            self._past.update(_past(missing))
        return {job_id: queued[job_id] if job_id in queued else self._past[job_id] for job_id in wanted}

    def by_comment(self, comment: str) -> SlurmJob | None:
        """The job that was submitted with this comment, the active one if there are several.

        Raises:
            SchedulerError: The scheduler cannot be asked.
        """
        found = [job for job in self.jobs().values() if job.comment == comment]
        return next((job for job in found if job.is_active), found[-1] if found else None)


def _past(job_ids: Sequence[str]) -> dict[str, SlurmJob | None]:
    """Jobs that are not in this user's queue.

    The accounting learns of an end late or, after a crash of the controller, never: where it calls a job of this user
    active that the controller does not know, it is wrong, and nobody knows how the job ended.
    """
    me = pwd.getpwuid(os.getuid()).pw_name
    past: dict[str, SlurmJob | None] = dict.fromkeys(job_ids)
    for user, job in _accounting(job_ids) or ():
        if job.job_id in past and not (job.is_active and user == me):
            past[job.job_id] = job
    return past


def _accounting(job_ids: Sequence[str]) -> list[tuple[str, SlurmJob]] | None:
    """`(user, job)` of each allocation, the oldest start first; sacct leaves out all but the latest by itself."""
    words = ("--noheader", "--parsable2", f"--delimiter={SEPARATOR}", "--allocations", "--allusers")
    try:
        answer = ask("sacct", *words, f"--format={','.join(RECORDS)}", f"--jobs={','.join(job_ids)}")
    except AbsentError:
        return None
    if answer.code != 0:
        return None
    rows = (line.split(SEPARATOR) for line in answer.out.splitlines())
    records = [dict(zip(RECORDS, row, strict=True)) for row in rows if len(row) == len(RECORDS)]
    records.sort(key=lambda record: moment(record["Start"]) or 0.0)
    return [(record["User"], of_accounting(record)) for record in records if "." not in record["JobID"]]
