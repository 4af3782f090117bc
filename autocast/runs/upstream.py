"""The jobs that a stage has to wait for, or why it must not be sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autocast.runs.directory import JOB_ID, UpstreamError, find_run
from autocast.runs.parents import Parent
from autocast.runs.slurm.queue import Scheduler, SchedulerError, SlurmJob
from autocast.runs.watch.stages import stages_of
from autocast.runs.watch.status import ACTIVE, DONE, UNKNOWN, Stage, StageStatus, statuses


def jobs_of_parents(parents: Iterable[Parent], scheduler: Scheduler) -> tuple[str, ...]:
    """The jobs that make the parents which are still to be made.

    Raises:
        UpstreamError: One of them is not going to be made.
        SchedulerError: The scheduler cannot say.
    """
    stages = [Stage(p.run, p.kind, p.stage) for p in parents if p.pending and p.run is not None and p.kind is not None]
    return _jobs(statuses(stages, scheduler))


def jobs_to_wait_for(
    words: Sequence[str], output_base: Path, scheduler: Scheduler
) -> tuple[tuple[str, ...], tuple[Stage, ...]]:
    """The jobs that `--after` names, by their ids or by their runs.

    Returns:
        Those that are not over yet, and the stages of the runs.

    Raises:
        UpstreamError: One of them has failed, or nothing is known of it.
        SchedulerError: The scheduler cannot say.
    """
    ids = [job for word in words if JOB_ID.fullmatch(word) for job in _job(word, scheduler)]
    runs = [find_run(word, output_base) for word in words if not JOB_ID.fullmatch(word)]
    stages = [stage for run in runs for stage in stages_of(run)]
    return (*ids, *_jobs(statuses(stages, scheduler))), tuple(stages)


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


def _job(job_id: str, scheduler: Scheduler) -> list[str]:
    """A job by its id, or an array by its own; nothing where it is over and went well."""
    tasks = [job for job in scheduler.jobs().values() if job.job_id.startswith(f"{job_id}_")]
    found: list[SlurmJob | None] = [*tasks] or [scheduler.find([job_id])[job_id]]
    for job in found:
        if job is None:
            raise UpstreamError(
                f"--after {job_id}: the scheduler does not know this job. A dependency on it would be dropped "
                "silently, and the job would run at once. Nothing was sent"
            )
        if not job.is_active and job.state != "COMPLETED":
            raise UpstreamError(
                f"--after {job_id}: {job.job_id} has ended as {job.state}, so nothing can wait for it. Nothing was sent"
            )
    return [job_id] if any(job is not None and job.is_active for job in found) else []
