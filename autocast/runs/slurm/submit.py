"""Gives jobs to the scheduler so that each is there exactly once, whatever happens on the way."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from autocast.runs.events import Event, is_alive, this_process
from autocast.runs.slurm.commands import Answer, SchedulerError, UnreachableError, ask
from autocast.runs.slurm.queue import Scheduler, SlurmJob, queue
from autocast.runs.slurm.resources import submission_environment
from autocast.runs.slurm.spool import Spool
from autocast.runs.slurm.submission import Submission

__all__ = ["Submission", "UnknownOutcomeError", "cancel", "reconcile", "script", "submit"]

PAUSES = (2.0, 6.0, 14.0)
"""Seconds before each further try, give or take a half."""
GIVE_UP = 60.0
"""Seconds after which there is no further try."""
FOREIGN_INTENT = 300.0
"""Seconds for which a submission that another machine began is left alone."""
ACCEPTED = re.compile(r"^(?:Submitted batch job )?(\d+)(?:;\S+| on cluster \S+)?\s*$", re.MULTILINE)
OVER = ("invalid job id", "already completing or completed", "already finished")

Journal = Callable[..., None]


class UnknownOutcomeError(UnreachableError):
    """Whether there is a job is not known; its submission stays open until `reconcile` can tell."""


def script(submission: Submission, n: int = 1) -> str:
    """Exactly what sbatch would be given for a job, or for an array of `n`. Needs no scheduler and writes nothing."""
    from autocast.runs.slurm.executor import render

    return render(submission, n)


def submit(submissions: Sequence[Submission], journal: Journal) -> list[str]:
    """Submits a job; several become one array.

    Args:
        submissions: Those of one array differ in their words and comments only.
        journal: Called as `journal(event, **fields)` with `submitting` before, `submitted` or `not_submitted` after;
            `comment` says of which submission.

    Returns:
        The ids of the jobs.

    Raises:
        SchedulerError: It refuses, or cannot be reached, and there is no job.
        UnknownOutcomeError: There may be a job.
    """
    from autocast.runs.slurm.executor import run_executor

    first = submissions[0]
    adopted = False

    def send() -> str:
        nonlocal adopted
        job_id, adopted = _send(first)
        return job_id

    _announce(submissions, journal)
    try:
        ids = run_executor(submissions, send)
    except UnknownOutcomeError:
        raise
    except SchedulerError as error:
        _close(submissions, journal, str(error))
        raise
    except (KeyboardInterrupt, OSError) as error:  # perhaps after the job was accepted
        with contextlib.suppress(SchedulerError):
            cancel(_main_ids(first.comment, queue().values()))
            _close(submissions, journal, str(error) or "interrupted")
        raise
    for submission, job_id in zip(submissions, ids, strict=True):
        journal("submitted", job_id=job_id, adopted=adopted, **submission.terms)
    return ids


def reconcile(events: Sequence[Event], journal: Journal, scheduler: Scheduler) -> str | None:
    """Finds out what came of a submission that was begun and whose command was killed.

    Args:
        events: The stage's journal.
        journal: Adds to it: `submitted`, or `not_submitted` where there is no job.
        scheduler: Where the job is looked for.

    Returns:
        The id of the job; None where there is none, where nothing is open, or where it is still under way.

    Raises:
        SchedulerError: The scheduler cannot be asked.
    """
    intent = _open_intent(events)
    if intent is None or _is_under_way(intent):
        return None
    comment, index = (intent["array"], intent["index"]) if "array" in intent else (intent["comment"], None)
    main_id = next(iter(_main_ids(comment, scheduler.jobs().values())), None)
    spool = Spool(Path(intent["folder"]), comment)
    if main_id and _is_given_up(intent, events):
        cancel([main_id])
        main_id = None
    if main_id is None:
        spool.remove()
        journal("not_submitted", comment=intent["comment"], message="the command that submitted it was interrupted")
        return None
    spool.hand_over(main_id)
    job_id = main_id if index is None else f"{main_id}_{index}"
    terms = ("comment", "dependency", "time_limit", "max_attempts")
    journal("submitted", job_id=job_id, adopted=True, **{name: intent[name] for name in terms})
    return job_id


def cancel(job_ids: Sequence[str]) -> None:
    """Cancels jobs; one that is over already is no error.

    Raises:
        SchedulerError: The scheduler refuses, or cannot be reached.
    """
    if not job_ids:
        return
    answer = ask("scancel", *job_ids)
    told = [line for line in answer.said.split("; ") if not any(words in line.lower() for words in OVER)]
    if answer.hung or (answer.code != 0 and told):
        raise answer.error


def sleep(seconds: float) -> None:
    """Waits before a further try."""
    time.sleep(seconds * random.uniform(0.5, 1.5))


def _announce(submissions: Sequence[Submission], journal: Journal) -> None:
    """The intent: enough to find the job, and its files, if nobody lives to say what came of it."""
    first = submissions[0]
    for index, submission in enumerate(submissions):
        array = {"array": first.comment, "index": index} if len(submissions) > 1 else {}
        where = {"folder": str(first.log_dir), **array, **this_process()}
        journal("submitting", resources=submission.resources, **submission.terms, **where)


def _close(submissions: Sequence[Submission], journal: Journal, message: str) -> None:
    """Nothing is left of submissions that became no jobs."""
    Spool(submissions[0].log_dir, submissions[0].comment).remove()
    for submission in submissions:
        journal("not_submitted", comment=submission.comment, message=message)


def _send(submission: Submission) -> tuple[str, bool]:
    """Calls sbatch, and again after errors that pass. A job that was accepted unheard is looked for before each try.

    Returns:
        The id of the job, and whether it was found in the queue.
    """
    file = Spool(submission.log_dir, submission.comment).script
    environ = submission_environment(submission.cluster)
    end, doubtful = time.monotonic() + GIVE_UP, False
    for pause in (*PAUSES, None):
        answer = ask("sbatch", str(file), environ=environ)
        if job_id := _accepted(answer):
            if doubtful:
                _cancel_twins(submission.comment, job_id)
            return job_id, False
        doubtful = doubtful or answer.is_doubtful or answer.code == 0
        if pause is None or not answer.is_transient or time.monotonic() > end:
            break
        sleep(pause)
        if doubtful and (found := _accepted_unheard(submission.comment)):
            return found, True
    if doubtful and (found := _accepted_unheard(submission.comment)):
        return found, True
    raise answer.error


def _accepted(answer: Answer) -> str | None:
    """The id in what sbatch says; sites' wrappers and plugins talk too."""
    said = ACCEPTED.findall(answer.out) if answer.code == 0 else []
    return said[-1] if said else None


def _accepted_unheard(comment: str) -> str | None:
    """The job with the comment, if there is one.

    Raises:
        UnknownOutcomeError: The scheduler cannot be asked.
    """
    for pause in (*PAUSES[:2], None):
        try:
            return next(iter(_main_ids(comment, queue().values())), None)
        except SchedulerError as error:
            if pause is None:
                raise UnknownOutcomeError(
                    f"whether the scheduler has accepted the job is not known ({error}). "
                    "The next autocast command about this run finds out: do not submit it again before"
                ) from error
            sleep(pause)
    return None


def _cancel_twins(comment: str, job_id: str) -> None:
    """Ends a job that an earlier try has made after all. One that appears later finds no pickle, and ends by itself."""
    with contextlib.suppress(SchedulerError):
        cancel([other for other in _main_ids(comment, queue().values()) if other != job_id])


def _main_ids(comment: str, jobs: Iterable[SlurmJob]) -> list[str]:
    """Ids of jobs and of whole arrays with the comment, those that are active first."""
    found = sorted((job for job in jobs if job.comment == comment), key=lambda job: not job.is_active)
    return list(dict.fromkeys(job.job_id.partition("_")[0] for job in found))


def _open_intent(events: Sequence[Event]) -> Event | None:
    settled = {event["comment"] for event in events if event["event"] in ("submitted", "not_submitted")}
    intents = [event for event in events if event["event"] == "submitting" and event["comment"] not in settled]
    return intents[-1] if intents else None


def _is_given_up(intent: Event, events: Sequence[Event]) -> bool:
    """Whether someone has since decided that the job should not be."""
    later = events[events.index(intent) :]
    return any(event["event"] in ("aborted", "cancelled") for event in later)


def _is_under_way(intent: Event) -> bool:
    """Whether the command that began it may still be at it; a process of another machine cannot be seen from here."""
    if intent["host"] == this_process()["host"]:
        return is_alive(intent)
    return time.time() - intent["time"] < FOREIGN_INTENT
