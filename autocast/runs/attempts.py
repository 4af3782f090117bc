"""The attempts of a stage: which one this is, and whether another one makes sense."""

from __future__ import annotations

from autocast.errors import AutocastError
from autocast.runs import ranks
from autocast.runs.directory import is_cache
from autocast.runs.events import Event, this_process
from autocast.runs.job import Job

FRUITLESS = 2
"""So many attempts in a row that got no further end a job; one may have met a broken node."""


class StuckError(AutocastError):
    """A job that is started again and again and gets nowhere."""


class SupersededError(AutocastError):
    """A job whose stage was sent once more, under another id."""


def begin(job: Job) -> None:
    """Journals the start of an attempt.

    Raises:
        StuckError: The attempts before got no further, or there were too many.
        SupersededError: Another job has taken the stage over.
    """
    events = before_this_attempt(job.directory.events(job.kind, job.stage))
    step = last_step(events)
    _check_owner(job, events)
    _guard(job, _since_launch(events), step)
    job.emit(
        "started",
        attempt=n_attempts(events) + 1,
        resume_from=job.resume_from,
        step=step,
        job_id=ranks.job_id(),
        restarts=ranks.restarts(),
        start_id=ranks.start_id(),
        scheduler=ranks.scheduler_variables(),
        **this_process(),
    )


def before_this_attempt(events: list[Event]) -> list[Event]:
    """Of several processes the first one may have journaled the start of the attempt that they all are in."""
    mine = ranks.start_id()
    return [e for e in events if e["event"] != "started" or mine is None or e.get("start_id") != mine]


def last_step(events: list[Event]) -> int:
    """The optimiser step of the last checkpoint, or the number of trajectories that an evaluation has kept the scores
    of; 0 before the first.
    """
    return next((event["step"] for event in reversed(events) if event["event"] in ("checkpoint", "scored")), 0)


def n_attempts(events: list[Event]) -> int:
    return sum(event["event"] == "started" for event in events)


def _check_owner(job: Job, events: list[Event]) -> None:
    """Two jobs in one directory would write over each other. One whose id is not journaled yet is given the benefit."""
    mine = ranks.job_id()
    said = [event for event in events if event["event"] in ("submitting", "submitted")]
    if mine is None or not said or said[-1]["event"] == "submitting" or str(said[-1]["job_id"]) == mine:
        return
    raise SupersededError(
        f"job {said[-1]['job_id']} has taken this {job.stage} over; job {mine} did nothing. "
        f"See: autocast status {job.directory.quoted}"
    )


def _guard(job: Job, before: list[Event], step: int) -> None:
    """`before` are the attempts since someone launched the stage: whoever resumes it by hand has a reason."""
    if ranks.job_id() is None:
        return
    limit = job.max_attempts
    if len(before) >= limit:
        raise StuckError(
            f"{len(before)} attempts are over, and cluster.max_attempts={limit}. It got to {_place(job, step)}. "
            f"Go on with: autocast resume {job.directory.quoted}"
        )
    fruitless = before[-FRUITLESS:]
    if not is_cache(job.stage) and len(fruitless) == FRUITLESS and all(event["step"] == step for event in fruitless):
        raise StuckError(
            f"{FRUITLESS} attempts in a row got no further than {_place(job, step)}. See what stopped them: "
            f"autocast why {job.directory.quoted}. A longer cluster.time or {_shorter(job)} helps "
            f"where the time limit comes first: autocast resume {job.directory.quoted} cluster.time=..."
        )


def _place(job: Job, step: int) -> str:
    return f"step {step:,}" if job.trains else f"trajectory {step:,}"


def _shorter(job: Job) -> str:
    return "a shorter checkpoint.every_n_minutes" if job.trains else "a smaller eval.batch_size"


def _since_launch(events: list[Event]) -> list[Event]:
    launches = [n for n, event in enumerate(events) if event["event"] == "launched"]
    return [event for event in events[launches[-1] if launches else 0 :] if event["event"] == "started"]
