"""The state of a stage that has no marker, from its journal and from what the scheduler says of its job."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from autocast.runs.events import Event, is_alive, process_start
from autocast.runs.watch.journal import Journal

if TYPE_CHECKING:
    from autocast.runs.slurm.queue import SlurmJob

DONE, RUNNING, PENDING, WAITING, REQUEUED = "done", "running", "pending", "waiting", "requeued"
STOPPED, INTERRUPTED, FAILED, CANCELLED, ABORTED = "stopped", "interrupted", "failed", "cancelled", "aborted"
STUCK, INCOMPLETE, LOST, LAUNCHED, UNKNOWN = "stuck", "incomplete", "lost", "launched", "unknown"
ACTIVE = (RUNNING, PENDING, WAITING, REQUEUED)
STATES = (
    *(DONE, *ACTIVE, STOPPED, INTERRUPTED, FAILED, CANCELLED, ABORTED),
    *(STUCK, INCOMPLETE, LOST, LAUNCHED, UNKNOWN),
)
"""`stopped`: left with what it had saved, and not requeued; `incomplete`: an upstream is; `lost`: gone without a word
and without a marker; `launched`: never submitted or started; `unknown`: who could say cannot be asked."""

OF_CLOSING = {
    "failed": FAILED,
    "interrupted": INTERRUPTED,
    "cancelled": CANCELLED,
    "aborted": ABORTED,
    "stuck": STUCK,
    "upstream_incomplete": INCOMPLETE,
    "not_submitted": LAUNCHED,
}
STOP_WORDS = {"SIGUSR2": "a time limit", "SIGTERM": "preemption or a signal", "SIGINT": "an interrupt"}
KILLED_BY = {9: "killed (signal 9)", 53: "Slurm could not start it: its log folder is not there (0:53)"}
QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
WIDEST = 110
MARKER_DELAY = 120.0
"""Seconds that a marker may take to appear on another node of a network file system."""


class Verdict(NamedTuple):
    state: str
    why: str = ""


def of_closed(journal: Journal, event: Event) -> Verdict:
    """Of a stage whose journal has a last word."""
    name = event["event"]
    if name == "failed":
        return Verdict(FAILED, short(f"{event['error']}: {event['message']}"))
    if name == "cancelled":
        return _of_cancelled(journal, event)
    if name == "interrupted":
        return Verdict(INTERRUPTED, "Ctrl-C")
    if name == "ended":
        return Verdict(STOPPED, stop_text(journal.ended) if journal.ended else "")
    if name == "not_submitted":
        return Verdict(LAUNCHED, short(f"not submitted: {event['message']}"))
    return Verdict(OF_CLOSING[name], short(event["message"]))


def of_process(journal: Journal) -> Verdict:
    """Of a stage that was never submitted: a process of this machine, or of one that cannot be asked."""
    begun, ended = journal.begun, journal.ended
    if ended and ended["event"] == "stopped":
        return Verdict(STOPPED, stop_text(ended))
    if begun is None:
        return Verdict(LAUNCHED, "it has not started")
    if begun["host"] != socket.gethostname():
        return Verdict(UNKNOWN, f"started on {begun['host']}, where it cannot be seen from here")
    if process_start(begun["pid"]) == begun["process_start"] is not None:
        return Verdict(RUNNING, run_text(journal) if journal.started else "starting")
    if ended:
        return Verdict(LOST, "it finished, but left no marker: not done")
    return Verdict(LOST, f"process {begun['pid']} is gone without a word")


def of_job(journal: Journal, job: SlurmJob) -> Verdict:
    """Of a stage whose job the scheduler or its accounting knows."""
    if job.state in QUEUED:
        return _of_pending(journal, job)
    if job.is_active:
        return _of_active(journal, job)
    return _of_ended(journal, job)


def of_vanished(journal: Journal) -> Verdict:
    """Of a stage whose job left the queue and is in no accounting: its own last word decides."""
    ended = journal.ended
    if journal.started is None:
        return Verdict(LOST, "Slurm no longer knows the job, which never started")
    if ended is None:
        return Verdict(LOST, "Slurm no longer knows the job, which left no word of its end")
    if ended["event"] == "finished":
        return _of_finished(ended, "Slurm no longer knows the job")
    if journal.leaving == "requeued":
        return Verdict(LOST, f"{stop_text(ended)} and put back into the queue, but Slurm no longer knows the job")
    return Verdict(STOPPED, stop_text(ended))


def of_unreachable(journal: Journal) -> Verdict:
    """Of an open stage when the scheduler does not answer: no guess, but the journal's last word."""
    word = journal.life[-1] if journal.life else None
    said = f"; last word: {word['event']}, {time.strftime('%d %b %H:%M', time.localtime(word['time']))}" if word else ""
    return Verdict(UNKNOWN, f"scheduler unreachable{said}")


def run_text(journal: Journal) -> str:
    """`resumed at step 4,310 after a time limit`; nothing of a first attempt."""
    resumed = journal.last("resumed")
    if resumed is None or (journal.started and resumed["time"] < journal.started["time"]):
        return ""
    before = journal.stopped_before
    after = f" after {STOP_WORDS.get(before['reason'], before['reason'])}" if before else ""
    return f"resumed at step {resumed['step']:,}{after}"


def stop_text(stopped: Event) -> str:
    """`stopped after step 4,310 by a time limit`."""
    step = f" after step {stopped['step']:,}" if stopped["step"] else ""
    return f"stopped{step} by {STOP_WORDS.get(stopped['reason'], stopped['reason'])}"


def short(text: str) -> str:
    """Its first line, as far as a table has room for it."""
    line = text.strip().split("\n", maxsplit=1)[0]
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"


def clock(moment: float) -> str:
    """`14:20`, with the day where it is another one."""
    then = time.localtime(moment)
    same = time.strftime("%j %Y", then) == time.strftime("%j %Y")
    return time.strftime("%H:%M" if same else "%d %b %H:%M", then)


def _of_cancelled(journal: Journal, event: Event) -> Verdict:
    """A process that was told to stop may still be saving; a job the scheduler ends."""
    if journal.submitted is None and journal.begun is not None and is_alive(journal.begun):
        return Verdict(RUNNING, "cancelled; ending")
    return Verdict(CANCELLED, f"by {event['by']}" if event.get("by") else "")


def _of_pending(journal: Journal, job: SlurmJob) -> Verdict:
    from autocast.runs.slurm.queue import in_words

    if journal.started:
        ended = journal.ended
        text = stop_text(ended) if ended and ended["event"] == "stopped" else "Slurm put it back into the queue"
        return Verdict(REQUEUED, f"{text}; {in_words(job.reason)}{_begins(job, ', at')}")
    if job.reason in ("Dependency", "DependencyNeverSatisfied"):
        return Verdict(WAITING, in_words(job.reason))
    return Verdict(PENDING, f"{in_words(job.reason)}{_begins(job, '; expected to start at')}")


def _begins(job: SlurmJob, words: str) -> str:
    return f"{words} {clock(job.start)}" if job.start else ""


def _of_active(journal: Journal, job: SlurmJob) -> Verdict:
    ended = journal.ended
    if ended and ended["event"] == "stopped":
        if journal.leaving == "requeued":
            return Verdict(REQUEUED, f"{stop_text(ended)}; about to be put back into the queue")
        return Verdict(RUNNING, f"{stop_text(ended)}; ending")
    if ended and ended["event"] == "finished":
        return Verdict(RUNNING, "finished; about to write its marker")
    if job.state == "SUSPENDED":
        return Verdict(RUNNING, "suspended by Slurm")
    if journal.started is None:
        return Verdict(RUNNING, "starting")
    return Verdict(RUNNING, run_text(journal))


def _of_ended(journal: Journal, job: SlurmJob) -> Verdict:  # noqa: PLR0911 - a table of cases
    ended = journal.ended
    if job.state == "CANCELLED":
        why = "its upstream did not complete" if job.reason.startswith("Dependency") else ""
        return Verdict(CANCELLED, why)
    if ended and ended["event"] == "stopped":
        return Verdict(STOPPED, stop_text(ended))
    if job.state == "COMPLETED":
        if ended and ended["event"] == "finished":
            return _of_finished(ended, "Slurm says COMPLETED")
        return Verdict(LOST, "Slurm says COMPLETED, but it left no marker: not done")
    if job.state == "TIMEOUT":
        return Verdict(FAILED, "its time limit came before it could stop by itself")
    if job.state == "OUT_OF_MEMORY":
        return Verdict(FAILED, "out of memory (host)")
    if job.state == "NODE_FAIL":
        return Verdict(FAILED, f"its node failed ({job.nodes})" if job.nodes else "its node failed")
    if job.state == "PREEMPTED":
        return Verdict(FAILED, "preempted before it could stop by itself")
    return Verdict(FAILED, _exit_text(job))


def _exit_text(job: SlurmJob) -> str:
    signal = job.signal or (job.exit_code - 128 if job.exit_code and job.exit_code > 128 else 0)
    if signal:
        return KILLED_BY.get(signal, f"killed by signal {signal}")
    if job.exit_code:
        return f"exit code {job.exit_code}, and no word of its own"
    return f"Slurm says {job.state}"


def _of_finished(finished: Event, otherwise: str) -> Verdict:
    if time.time() - finished["time"] < MARKER_DELAY:
        return Verdict(RUNNING, "finished; its marker is not to be seen yet")
    return Verdict(LOST, f"{otherwise}, it finished, but left no marker: not done")
