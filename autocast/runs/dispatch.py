"""Sends stages to a cluster: each a job, joined so that none starts before what it stands on is done."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from autocast.errors import AutocastError
from autocast.runs.chain import Link, chain
from autocast.runs.console import Screen, aligned, duration
from autocast.runs.decision import ways_on
from autocast.runs.events import append_event
from autocast.runs.exits import ABORTED, DONE, tell
from autocast.runs.freeze import Aside, freeze
from autocast.runs.identity import write_json
from autocast.runs.job import cluster_section
from autocast.runs.plan import Plan
from autocast.runs.provenance import provenance
from autocast.runs.request import Request
from autocast.runs.slurm.queue import Scheduler, SchedulerError
from autocast.runs.slurm.resources import tasks_per_node
from autocast.runs.slurm.submit import UnknownOutcomeError, cancel, submit
from autocast.runs.watch.follow import follow
from autocast.runs.watch.status import statuses


def send(request: Request, plans: Sequence[Plan], screen: Screen) -> tuple[int, list[dict[str, Any]]]:
    """Freezes stages and submits their jobs; follows them unless the command is to return at once.

    Returns:
        The exit code, and what there is to say of each stage in a document.
    """
    links = chain(plans, request, Scheduler())
    origin = provenance()
    asides = [freeze(plan, origin) for link in links for plan in link.plans]
    jobs: list[str] = []
    try:
        for link in links:
            _note_what_it_waits_for(link)
            jobs.append(_submit(link, jobs))
    except BaseException as error:
        code = _abort(links, jobs, asides, error)
        if not isinstance(error, AutocastError | OSError | KeyboardInterrupt):
            raise
        return code, []
    for aside in asides:
        aside.drop()
    screen.line("\n".join(_told(links, jobs)))
    if request.detach:
        return DONE, _documents(links, jobs)
    stages = [stage for link in links for stage in link.stages]
    code = follow(stages, screen)
    return code, _documents(links, jobs, [status.state for status in statuses(stages)])


def _documents(links: Sequence[Link], jobs: Sequence[str], states: Sequence[str] = ()) -> list[dict[str, Any]]:
    each = [(stage, job, waits(link, jobs)) for link, job in zip(links, jobs, strict=True) for stage in link.stages]
    return [
        {**stage.place, "state": state, "job_id": job, "waits_for": list(dependency)}
        for (stage, job, dependency), state in zip(each, states or ["submitted"] * len(each), strict=True)
    ]


def waits(link: Link, jobs: Sequence[str]) -> tuple[str, ...]:
    """All jobs that one waits for, `jobs` being those of its chain that have been sent."""
    return (*link.waits_for, *(jobs[:1] if link.follows else ()))


def _note_what_it_waits_for(link: Link) -> None:
    """Stages that were named by hand: the job looks for their markers before it does anything."""
    if not link.after:
        return
    for run, kind, stage in link.stages:
        record = run.run_record(kind, stage)
        write_json(run.run_file(kind, stage), {**record, "after": [other.place for other in link.after]})


def _submit(link: Link, jobs: Sequence[str]) -> str:
    assert link.uid is not None  # it has been frozen
    submission = link.submission(waits(link, jobs), secrets.token_hex(2), link.uid)
    return submit([submission], partial(_journal, link))[0]


def _journal(link: Link, event: str, /, **fields: Any) -> None:
    for run, kind, stage in link.stages:
        append_event(run.events_file(kind, stage), event, **fields)


def _abort(links: Sequence[Link], jobs: Sequence[str], asides: Sequence[Aside], error: BaseException) -> int:
    """A chain is sent whole or not at all: what was submitted is cancelled, what was replaced is put back."""
    run = links[0].first.directory
    left = "Nothing is left in the queue"
    if isinstance(error, UnknownOutcomeError):
        left = f"Whether a job is left in the queue tells: autocast status {run.quoted}"
    try:
        cancel(list(reversed(jobs)))
    except SchedulerError as silent:
        left = f"The jobs {', '.join(jobs)} may be left in the queue ({silent}). End them: autocast cancel {run.quoted}"
    for link in links:
        _journal(link, "aborted", message=str(error) or "interrupted", code=ABORTED)
    if left.startswith("Nothing"):
        for aside in reversed(asides):
            aside.restore()
    code = tell(error) if isinstance(error, AutocastError) else ABORTED
    if not isinstance(error, AutocastError):
        Screen().error(str(error) or "interrupted")
    Screen().error(f"{run.path}: aborted. {left}")
    return ABORTED if jobs else code


def _told(links: Sequence[Link], jobs: Sequence[str]) -> list[str]:
    rows = []
    for link, job in zip(links, jobs, strict=True):
        others = waits(link, jobs)
        dependency = f"   afterok:{':'.join(others)}" if others else ""
        rows.append((link.name, f"{job}   {resources(cluster_section(link.first.config))}{dependency}"))
    first = f"submitted  {links[0].first.directory.path}"
    return [first, *(f"  {line}" for line in aligned([*rows, *ways_on(links[0].first.directory)]))]


def resources(cluster: dict[str, Any]) -> str:
    """`1 × 4 GPUs, 12:00:00, gpu-a100`."""
    gpus, tasks = cluster["gpus_per_node"], tasks_per_node(cluster)
    per_node = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else f"{tasks} task{'s' if tasks > 1 else ''}"
    time = cluster["time"]
    length = duration(60 * time) if isinstance(time, int) else time
    return ", ".join(str(part) for part in (f"{cluster['nodes']} × {per_node}", length, cluster["partition"]) if part)
