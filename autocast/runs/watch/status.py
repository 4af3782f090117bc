"""What stages are doing: their own marker first, then the queue, then the accounting, then their journal."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autocast.runs.events import append_event
from autocast.runs.watch.chains import with_upstream
from autocast.runs.watch.journal import Journal, read_journal
from autocast.runs.watch.progress import progress
from autocast.runs.watch.stages import Stage, stages_of
from autocast.runs.watch.state import StageStatus
from autocast.runs.watch.verdicts import (
    ACTIVE,
    DONE,
    LAUNCHED,
    QUEUED,
    RUNNING,
    STATES,
    UNKNOWN,
    Verdict,
    of_closed,
    of_job,
    of_process,
    of_unreachable,
    of_vanished,
)

if TYPE_CHECKING:
    from autocast.runs.slurm.queue import Scheduler, SlurmJob

__all__ = ["ACTIVE", "DONE", "STATES", "UNKNOWN", "Stage", "StageStatus", "statuses"]


LINGERING = 86400.0
"""Seconds for which a job is looked for after its last word."""
OVERRULED = ("failed", "aborted", "stuck", "ended", "interrupted")
"""Last words that the queue may contradict."""


@dataclass(frozen=True)
class _View:
    """A stage without a marker, and its journal."""

    stage: Stage
    journal: Journal

    @property
    def is_open(self) -> bool:
        """Whether only the scheduler can say what became of it."""
        return self.journal.closed is None and bool(self.journal.job_id or self.journal.unconfirmed)

    def may_linger(self, now: float) -> bool:
        """Whether the queue may hold its job in spite of its last word: Slurm requeues after the failure of a node, and
        a chain that was aborted may not have been cancelled."""
        closed = self.journal.closed
        if closed is None or self.journal.job_id is None:
            return False
        return now - closed["time"] < LINGERING and closed["event"] in OVERRULED


@dataclass(frozen=True)
class _Answers:
    """What the scheduler said of the jobs of open stages."""

    jobs: Mapping[str, SlurmJob | None]
    by_comment: Mapping[str, SlurmJob | None]
    reached: bool = True

    def job(self, journal: Journal) -> SlurmJob | None:
        if journal.unconfirmed:
            return self.by_comment.get(journal.unconfirmed["comment"])
        return self.jobs.get(journal.job_id) if journal.job_id else None


def statuses(stages: Sequence[Stage], scheduler: Scheduler | None = None, *, settle: bool = False) -> list[StageStatus]:
    """What each of the stages is doing, in their order.

    At most one squeue and one sacct call for all of them; none where no stage has an open job.

    Args:
        stages: Of any runs.
        scheduler: Asked at most once.
        settle: Also find out, and journal, what came of submissions whose command was killed.
    """
    now = time.time()
    views = {stage: _View(stage, _journal(stage)) for stage in stages if not stage.is_done}
    beside = _beside(views)
    asked = set(stages)
    everything = [*stages, *(stage for stage in beside if stage not in asked)]
    views.update({stage: _View(stage, _journal(stage)) for stage in everything[len(stages) :] if not stage.is_done})
    if settle:
        scheduler = _settle(views, scheduler)
    open_views = [view for view in views.values() if view.is_open]
    answers = _ask(open_views, [view for view in views.values() if view.may_linger(now)], scheduler)
    found = [_done(stage) if stage not in views else _status(views[stage], answers, now) for stage in everything]
    return with_upstream(found, {stage: view.journal for stage, view in views.items()})[: len(stages)]


def _beside(views: Mapping[Stage, _View]) -> list[Stage]:
    """Stages of the same runs, which others that were sent and have not started may wait for."""
    waiting = [view.stage for view in views.values() if view.journal.may_wait]
    runs = dict.fromkeys(stage.directory for stage in waiting)
    return [stage for run in runs for stage in stages_of(run)]


def _journal(stage: Stage) -> Journal:
    return read_journal(stage.directory.events_file(stage.kind, stage.stage))


def _settle(views: dict[Stage, _View], scheduler: Scheduler | None) -> Scheduler | None:
    """Adopts jobs of which their stages do not know yet. Where the scheduler is silent, it stays unknown."""
    doubtful = [stage for stage, view in views.items() if view.journal.has_open_intent]
    if not doubtful:
        return scheduler
    from autocast.runs.slurm.queue import Scheduler, SchedulerError
    from autocast.runs.slurm.submit import reconcile

    scheduler = scheduler or Scheduler()
    for stage in doubtful:
        run, kind, name = stage
        with contextlib.suppress(SchedulerError):
            reconcile(run.events(kind, name), functools.partial(append_event, run.events_file(kind, name)), scheduler)
        views[stage] = _View(stage, _journal(stage))
    return scheduler


def _ask(views: Sequence[_View], lingering: Sequence[_View], scheduler: Scheduler | None) -> _Answers:
    """Jobs that may linger are looked for in the queue only, and not missed where nobody answers."""
    if not views and not lingering:
        return _Answers({}, {})
    from autocast.runs.slurm.queue import Scheduler, SchedulerError

    scheduler = scheduler or Scheduler()
    comments = [view.journal.unconfirmed["comment"] for view in views if view.journal.unconfirmed]
    ids = [view.journal.job_id for view in views if view.journal.job_id]
    try:
        queued = scheduler.jobs() if lingering else {}
        found = {str(view.journal.job_id): queued.get(str(view.journal.job_id)) for view in lingering}
        found.update(scheduler.find(ids))
        return _Answers(found, {comment: scheduler.by_comment(comment) for comment in comments})
    except SchedulerError:
        return _Answers({}, {}, reached=False)


def _done(stage: Stage) -> StageStatus:
    """From the marker alone: nothing else is read of what is done."""
    file = stage.directory.done_file(stage.kind, stage.stage)
    marker = json.loads(file.read_text(encoding="utf-8"))
    return StageStatus(stage, DONE, elapsed=marker.get("seconds"), since=file.stat().st_mtime)


def _status(view: _View, answers: _Answers, now: float) -> StageStatus:
    stage, journal = view.stage, view.journal
    job = answers.job(journal) if view.is_open or _contradicts(answers.job(journal), journal) else None
    state, why = _verdict(view, answers, job)
    if state not in ACTIVE and stage.is_done:  # since it was looked for
        return _done(stage)
    far = progress(stage.directory, stage.kind, stage.stage, journal, now)
    submitted = journal.submitted or {}
    return StageStatus(
        stage=stage,
        state=state,
        why=why,
        job_id=job.job_id if job else journal.job_id,
        attempt=journal.attempt,
        max_attempts=journal.max_attempts,
        progress=far,
        elapsed=_elapsed(journal, job, now if state == RUNNING else None),
        limit=(job.time_limit if job else None) or submitted.get("time_limit"),
        left=far.left if state == RUNNING else None,
        since=journal.events[-1]["time"] if journal.events else None,
        job=job,
    )


def _verdict(view: _View, answers: _Answers, job: SlurmJob | None) -> Verdict:
    journal = view.journal
    if journal.closed and job is None:
        return of_closed(journal, journal.closed)
    if not view.is_open and job is None:
        return of_process(journal)
    if not answers.reached:
        return of_unreachable(journal)
    if job is not None:
        return of_job(journal, job)
    if journal.unconfirmed:
        return Verdict(LAUNCHED, "a submission was begun, and Slurm knows no such job")
    return of_vanished(journal)


def _contradicts(job: SlurmJob | None, journal: Journal) -> bool:
    """Whether a job is there that the stage's last word knows nothing of: not one that is about to leave after it."""
    closed = journal.closed
    if job is None or closed is None or not job.is_active or job.state == "COMPLETING":
        return False
    return closed["event"] == "aborted" or job.state in QUEUED or (job.start or 0.0) > closed["time"]


def _elapsed(journal: Journal, job: SlurmJob | None, now: float | None) -> float | None:
    if job is not None and job.elapsed:
        return job.elapsed
    if journal.started is None:
        return None
    end = now or (journal.ended or journal.life[-1])["time"]
    return max(0.0, end - journal.started["time"])
