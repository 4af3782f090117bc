"""The jobs that a stage has to wait for, or why it must not be sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autocast.runs.directory import JOB_ID, TRAIN, UpstreamError, find_run
from autocast.runs.parents import Parent
from autocast.runs.slurm.queue import Scheduler, SchedulerError
from autocast.runs.watch.stages import stages_of
from autocast.runs.watch.status import ACTIVE, DONE, UNKNOWN, Stage, StageStatus, statuses


def jobs_of_parents(parents: Iterable[Parent], scheduler: Scheduler) -> tuple[str, ...]:
    """The jobs that make the parents which are still to be made.

    Raises:
        UpstreamError: One of them is not going to be made.
        SchedulerError: The scheduler cannot say.
    """
    stages = [Stage(p.run, p.kind, TRAIN) for p in parents if p.pending and p.run is not None and p.kind is not None]
    return _jobs(statuses(stages, scheduler))


def jobs_to_wait_for(words: Sequence[str], output_base: Path, scheduler: Scheduler) -> tuple[str, ...]:
    """The jobs that `--after` names, by their ids or by their runs.

    Raises:
        UpstreamError: One of them has failed, or nothing is known of it.
        SchedulerError: The scheduler cannot say.
    """
    named = [word for word in words if JOB_ID.fullmatch(word)]
    ids = [job for word in named if (job := _job(word, scheduler))]
    runs = [find_run(word, output_base) for word in words if word not in named]
    return (*ids, *_jobs(statuses([stage for run in runs for stage in stages_of(run)], scheduler)))


def _jobs(found: Sequence[StageStatus]) -> tuple[str, ...]:
    ids = [_job_of_stage(status) for status in found if status.state != DONE]
    return tuple(dict.fromkeys(ids))


def _job_of_stage(status: StageStatus) -> str:
    run, kind, stage = status.stage
    name = f"{run.path}: its {kind} {stage}"
    if status.state == UNKNOWN:
        raise SchedulerError(f"{name} is not done, and nobody can say what becomes of it ({status.why}). Try again")
    if status.state not in ACTIVE:
        why = f" ({status.why})" if status.why else ""
        raise UpstreamError(
            f"{name} is {status.state}{why}: what would wait for it would never start, or start on something "
            f"half-trained. Nothing was sent. Continue it first: autocast resume {run.quoted}"
        )
    if status.job_id is None:
        raise UpstreamError(
            f"{name} is running on this machine and not as a job, so no job can wait for it. "
            f"Wait until it is done: autocast status {run.quoted} --watch"
        )
    return status.job_id


def _job(job_id: str, scheduler: Scheduler) -> str | None:
    """A job by its id; None where it is over and went well."""
    job = scheduler.find([job_id])[job_id]
    if job is None:
        raise UpstreamError(
            f"--after {job_id}: the scheduler does not know this job. A dependency on it would be dropped silently, "
            "and the job would run at once. Nothing was sent"
        )
    if job.is_active:
        return job_id
    if job.state == "COMPLETED":
        return None
    raise UpstreamError(f"--after {job_id}: it has ended as {job.state}, so nothing can wait for it. Nothing was sent")
