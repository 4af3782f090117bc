"""Ends what runs are doing: jobs, those that wait for them, and processes of this machine."""

from __future__ import annotations

import getpass
import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autocast.runs.console import Screen
from autocast.runs.events import Event, append_event, is_alive
from autocast.runs.exits import DONE, SCHEDULER, USAGE
from autocast.runs.slurm.queue import Scheduler, SlurmJob
from autocast.runs.slurm.submit import cancel as cancel_jobs
from autocast.runs.watch.journal import read_journal
from autocast.runs.watch.stages import Stage, find_stages
from autocast.runs.watch.status import ACTIVE, UNKNOWN, StageStatus, statuses

MANY = 10
"""More stages than this are cancelled only when that was confirmed."""
OURS = re.compile(r"autocast:(\w+):")


def cancel(
    names: Sequence[str],
    output_base: Path,
    screen: Screen,
    *,
    confirm: Callable[[str], bool],
    sure: bool = False,
    dry_run: bool = False,
) -> int:
    """Cancels the open stages of runs, those that wait for others first.

    Args:
        names: RUNs.
        output_base: Where they lie.
        screen: Where it is told.
        confirm: Asked where there are many.
        sure: Whether processes of other machines, which cannot be seen from here, are known to be gone.
        dry_run: Only say what would be cancelled.

    Returns:
        The exit code; what is over already is no error.

    Raises:
        NoSuchRunError: A name means no run.
    """
    stages = find_stages(names, output_base)
    scheduler = Scheduler()
    found = statuses(stages, scheduler, settle=not dry_run)
    unknown = [status for status in found if status.state == UNKNOWN]
    if sure and not dry_run:
        unknown = _give_up(unknown, screen)
    for status in unknown:
        screen.error(f"{status.stage.label}: not cancelled, for nobody can say what it is doing ({status.why})")
        if status.job_id is None:
            screen.error(f"if you know that it is gone: autocast cancel {status.stage.directory.quoted} --yes")
    active = [status for status in found if status.state in ACTIVE]
    jobs = _in_order(_open_jobs(stages, active, scheduler), scheduler)
    if len(active) > MANY and not dry_run and not confirm(_question(active, jobs)):
        screen.error(f"{len(active)} stages: nothing was cancelled. Say --yes to cancel that many")
        return USAGE
    if not dry_run:
        _end(active, jobs)
    _tell(screen, "would cancel" if dry_run else "cancelled", active, jobs, scheduler)
    if dry_run:
        screen.line("nothing was written, nothing was started, nothing was cancelled")
    if screen.as_json:
        screen.document({"cancelled": [{**s.stage.place, "job_id": s.job_id} for s in active], "jobs": jobs})
    return SCHEDULER if unknown else DONE


def _give_up(unknown: Sequence[StageStatus], screen: Screen) -> list[StageStatus]:
    """Processes of other machines, which are known to be gone.

    Returns:
        What is a job, and can be asked about later.
    """
    gone = [status for status in unknown if status.job_id is None]
    _journal(gone)
    for status in gone:
        screen.note(f"{status.stage.label}: given up ({status.why}); if it runs after all, end it there")
    return [status for status in unknown if status.job_id is not None]


def _end(active: Sequence[StageStatus], jobs: Sequence[str]) -> None:
    if jobs:
        cancel_jobs(jobs)
    _journal(active)
    for status in active:
        if status.job_id is None:
            _end_process(status)


def _open_jobs(stages: Sequence[Stage], active: Sequence[StageStatus], scheduler: Scheduler) -> list[str]:
    """The jobs of stages, and those of earlier submissions that are still in the queue."""
    latest = [status.job_id for status in active if status.job_id]
    journals = [read_journal(run.events_file(kind, stage)) for run, kind, stage in stages]
    ever = [job_id for journal in journals for job_id in journal.job_ids if job_id not in latest]
    if not ever or not latest:  # nobody is asked about runs that have ended
        return latest
    queued = scheduler.jobs()
    return [*latest, *(job_id for job_id in ever if job_id in queued and queued[job_id].is_active)]


def _in_order(ids: Sequence[str], scheduler: Scheduler) -> list[str]:
    """Jobs and everything of ours that waits for them, the last of each chain first, so that none starts or lingers."""
    waiting: dict[str, list[str]] = {}
    if ids:
        for job in scheduler.jobs().values():
            for upstream in job.upstream if _is_ours(job) else ():
                waiting.setdefault(upstream, []).append(job.job_id)
    order: list[str] = []

    def visit(job_id: str) -> None:
        for dependent in waiting.get(job_id, ()):
            visit(dependent)
        if job_id not in order:
            order.append(job_id)

    for job_id in dict.fromkeys(ids):
        visit(job_id)
    return order


def _is_ours(job: SlurmJob) -> bool:
    return job.is_active and OURS.match(job.comment) is not None


def _journal(active: Sequence[StageStatus]) -> None:
    """Who wanted it counts more than what a job says of its end, whichever comes first."""
    for status in active:
        run, kind, stage = status.stage
        append_event(run.events_file(kind, stage), "cancelled", job_id=status.job_id, by=getpass.getuser())


def _end_process(status: StageStatus) -> None:
    """TERM to a process, which is of this machine: a training saves what it has reached, and leaves."""
    run, kind, stage = status.stage
    event = _process(run.events(kind, stage))
    if event is not None and is_alive(event):
        os.kill(event["pid"], signal.SIGTERM)


def _process(events: Sequence[Event]) -> Event | None:
    return next((event for event in reversed(events) if event["event"] in ("started", "detached")), None)


def _question(active: Sequence[StageStatus], jobs: Sequence[str]) -> str:
    return f"Cancel {len(active)} stages ({len(jobs)} jobs)?"


def _tell(screen: Screen, verb: str, active: Sequence[StageStatus], jobs: Sequence[str], scheduler: Scheduler) -> None:
    if not active:
        screen.line("nothing to cancel: no stage is running, pending or waiting")
    for status in active:
        job = f"job {status.job_id}" if status.job_id else "process"
        screen.line(f"{verb}  {status.stage.label}  {job}, was {status.state}")
    known: dict[str, Any] = {status.job_id: status for status in active if status.job_id}
    for job_id in jobs:
        if job_id not in known:
            screen.line(f"{verb}  job {job_id} ({scheduler.jobs()[job_id].name}), which waited for one of them")
