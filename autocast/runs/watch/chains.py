"""What stages that have not started wait for, and which of them ended with what they waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autocast.runs.directory import TRAIN
from autocast.runs.watch.journal import Journal
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.verdicts import CANCELLED, DONE, FAILED, INCOMPLETE, LOST, RUNNING, STOPPED, STUCK, WAITING

FOR_NOTHING = (STOPPED, FAILED, CANCELLED, STUCK, INCOMPLETE)
"""States of a job that nobody waits for with success; Slurm itself takes a while to say so."""


def with_upstream(found: Sequence[StageStatus], journals: Mapping[Stage, Journal]) -> list[StageStatus]:
    """The same, with those named that a stage waits for, or that it was cancelled with."""
    by_job = {status.job_id: status for status in reversed(found) if status.job_id}
    first = _first_of_each_job(found, journals)
    changed = []
    for status in found:
        journal = journals.get(status.stage)
        if journal is None or not journal.may_wait:
            changed.append(status)
        elif (before := first[journal.sent_with]) is not status:
            changed.append(_in_turn(status, before))
        else:
            changed.append(_after(status, journal.dependency, by_job))
    return changed


def _first_of_each_job(
    found: Sequence[StageStatus], journals: Mapping[Stage, Journal]
) -> dict[tuple[Any, ...] | None, StageStatus]:
    """Of the stages without a marker that share a job or a process, the one whose turn is first."""
    first: dict[tuple[Any, ...] | None, StageStatus] = {}
    for status in sorted(found, key=lambda status: status.stage.stage != TRAIN):
        if status.stage in journals:
            first.setdefault(journals[status.stage].sent_with, status)
    return first


def _in_turn(status: StageStatus, before: StageStatus) -> StageStatus:
    name = _name(before, status.stage)
    if before.is_active and status.state in (RUNNING, WAITING):
        return replace(status, state=WAITING, why=f"for {name}, which runs first in the same job")
    if not before.is_active and not status.is_active:
        return replace(status, state=CANCELLED, why=f"{name}, which runs first in the same job, did not complete")
    return status


def _after(status: StageStatus, dependency: Sequence[str], by_job: Mapping[str, StageStatus]) -> StageStatus:
    if not dependency:
        return status
    known = [upstream for job_id in dependency if (upstream := by_job.get(job_id))]
    others = [job_id for job_id in dependency if job_id not in by_job]
    named = ", ".join([*(f"{_name(upstream, status.stage)} ({upstream.job_id})" for upstream in known), *others])
    if status.state == WAITING:
        told = status.job is not None and status.job.reason == "DependencyNeverSatisfied"
        never = told or any(upstream.state in FOR_NOTHING for upstream in known)
        why = f"for {named}" + (", which did not complete: it will never start" if never else "")
        return replace(status, why=why, never_starts=never)
    ended = [upstream for upstream in known if upstream.state != DONE and not upstream.is_active]
    if ended and (status.state == LOST or (status.state == CANCELLED and status.why)):
        return replace(status, state=CANCELLED, why=f"it waited for {named}, which did not complete")
    return status


def _name(upstream: StageStatus, stage: Stage) -> str:
    """`train`, with the run where it is another one."""
    other = upstream.stage
    if other.directory != stage.directory:
        return other.label
    return other.stage if other.kind == stage.kind else other.name
