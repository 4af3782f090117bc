"""What a stage is said to do: marker, queue, accounting and journal, in this order, and never a guess."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from autocast.runs.events import process_identity
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.status import ACTIVE, STATES, statuses

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": ["autocast", "epd"]})
SUBMITTING = ("submitting", {"comment": "autocast:cafe0001:train:00aa", "profile": "generic"})


def submitted(job_id: str = "12", **fields: Any) -> tuple[str, dict[str, Any]]:
    told = {"job_id": job_id, "dependency": [], "adopted": False, "time_limit": 3600, "max_attempts": 6}
    return ("submitted", {**told, **fields})


def started(attempt: int = 1, job_id: str | None = "12", **fields: Any) -> tuple[str, dict[str, Any]]:
    told = {"attempt": attempt, "job_id": job_id, "step": 0, "host": "n1", "pid": 1, "process_start": "0"}
    return ("started", {**told, **fields})


def epoch(n: int, seconds: float = 60.0) -> tuple[str, dict[str, Any]]:
    return ("epoch", {"epoch": n, "step": 100 * n, "seconds": seconds, "train/loss": 0.1})


def stopped(reason: str = "SIGUSR2") -> tuple[str, dict[str, Any]]:
    return ("stopped", {"reason": reason, "step": 4310, "epoch": 43, "code": 75})


SENT = (LAUNCHED, SUBMITTING, submitted())
FAILED = ("failed", {"error": "ValueError", "message": "no\nmore", "traceback": "", "code": 1, "rank": 0})
REQUEUED = ("requeued", {"job_id": "12"})


@pytest.mark.parametrize(
    ("events", "slurm", "state", "why"),
    [
        (SENT, ("RUNNING", {}), "running", "starting"),
        (SENT, ("PENDING", {"reason": "Priority"}), "pending", ""),
        (SENT, ("PENDING", {"reason": "Dependency"}), "waiting", ""),
        ((*SENT, started()), ("RUNNING", {}), "running", ""),
        ((*SENT, started()), ("PENDING", {"reason": "BeginTime"}), "requeued", "back into the queue"),
        ((*SENT, started(), stopped(), REQUEUED), ("PENDING", {"reason": "BeginTime"}), "requeued", "step 4,310"),
        ((*SENT, started(), stopped(), REQUEUED), ("COMPLETING", {}), "requeued", "a time limit"),
        (
            (*SENT, started(), stopped("SIGTERM"), REQUEUED, started(2), ("resumed", {"step": 4310, "epoch": 43})),
            ("RUNNING", {}),
            "running",
            "resumed at step 4,310 after preemption",
        ),
        ((*SENT, started(), stopped("SIGTERM"), ("left", {"job_id": "12"})), ("COMPLETING", {}), "running", "ending"),
        ((*SENT, started(), stopped(), ("ended", {"job_id": "12"})), ("FAILED", {"exit_code": 75}), "stopped", "4,310"),
        ((*SENT, started(), FAILED), ("RUNNING", {}), "failed", "ValueError: no"),
        ((*SENT, started()), ("FAILED", {"exit_code": 3}), "failed", "exit code 3"),
        ((*SENT, started()), ("FAILED", {"exit_code": 137}), "failed", "signal 9"),
        ((*SENT, started()), ("FAILED", {"exit_code": 0, "signal": 53}), "failed", "log folder"),
        ((*SENT, started()), ("OUT_OF_MEMORY", {}), "failed", "out of memory"),
        ((*SENT, started()), ("NODE_FAIL", {"nodes": "n1"}), "failed", "n1"),
        ((*SENT, started()), ("TIMEOUT", {}), "failed", "time limit"),
        ((*SENT, started()), ("CANCELLED", {}), "cancelled", ""),
        ((*SENT, started(), ("cancelled", {"job_id": "12", "by": "ada"})), ("RUNNING", {}), "cancelled", "by ada"),
        (
            (*SENT, started(), ("cancelled", {"job_id": "12", "by": "ada"}), stopped("SIGTERM")),
            ("COMPLETING", {}),
            "cancelled",
            "by ada",
        ),
        ((*SENT, started()), ("COMPLETED", {"exit_code": 0}), "lost", "not done"),
        ((*SENT, started(), ("stuck", {"message": "2 attempts", "code": 1})), ("RUNNING", {}), "stuck", "2 attempts"),
        (
            (*SENT, started(), ("upstream_incomplete", {"message": "no marker", "code": 78})),
            ("FAILED", {}),
            "incomplete",
            "no marker",
        ),
        (SENT, None, "lost", "never started"),
        ((*SENT, started()), None, "lost", "no word of its end"),
        ((*SENT, started(), stopped(), REQUEUED), None, "lost", "back into the queue"),
        ((*SENT, started(), stopped("SIGTERM"), ("left", {"job_id": "12"})), None, "stopped", "4,310"),
        ((*SENT, started(), ("finished", {"seconds": 1.0})), None, "running", "marker is not to be seen yet"),
        ((LAUNCHED,), None, "launched", "not started"),
        (
            (LAUNCHED, SUBMITTING, ("not_submitted", {"comment": "c", "message": "invalid account"})),
            None,
            "launched",
            "invalid account",
        ),
        ((*SENT, ("aborted", {"message": "eval was refused", "code": 5})), None, "aborted", "eval was refused"),
    ],
)
def test_states(
    events: tuple,
    slurm: tuple[str, dict[str, Any]] | None,
    state: str,
    why: str,
    stage_with: Callable[..., Stage],
    job: Callable[..., Any],
    scheduler_with: Callable[..., Any],
):
    jobs = [job("12", slurm[0], **slurm[1])] if slurm else []
    (found,) = statuses([stage_with(*events)], scheduler_with(*jobs))
    assert (found.state, why in found.why) == (state, True), found.why
    assert found.state in STATES
    assert found.is_active is (state in ACTIVE)


def test_only_the_marker_means_done(stage_with: Callable[..., Stage], scheduler_with: Callable[..., Any]):
    scheduler = scheduler_with()
    (found,) = statuses([stage_with(*SENT, started(), FAILED, done=True)], scheduler)
    assert (found.state, found.elapsed) == ("done", 321.0)
    assert scheduler.asked == []


def test_nobody_is_asked_where_nothing_is_open(stage_with: Callable[..., Stage], scheduler_with: Callable[..., Any]):
    scheduler = scheduler_with(reachable=False)
    cancelled = ("cancelled", {"job_id": "7", "by": "me"})
    stages = [stage_with(*SENT, started(), cancelled), stage_with(*SENT, run="rd/01", done=True)]
    assert [found.state for found in statuses(stages, scheduler)] == ["cancelled", "done"]
    assert scheduler.asked == []


def test_a_job_that_slurm_started_once_more_counts_more_than_the_last_word(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage = stage_with(*SENT, started(), FAILED)
    job_id = stage.directory.events("epd", "train")[2]["job_id"]
    assert statuses([stage], scheduler_with(job(job_id, "PENDING", reason="BeginTime")))[0].is_active
    assert statuses([stage], scheduler_with(job(job_id, "COMPLETING")))[0].state == "failed"
    assert statuses([stage], scheduler_with(reachable=False))[0].state == "failed"


def test_all_jobs_are_asked_for_at_once(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    ids = [str(100 + n) for n in range(7)]
    stages = [stage_with(LAUNCHED, SUBMITTING, submitted(name), run=f"rd/{name}") for name in ids]
    scheduler = scheduler_with(*(job(name, "RUNNING") for name in ids))
    assert {found.state for found in statuses(stages, scheduler)} == {"running"}
    assert scheduler.asked == [ids]


def test_a_scheduler_that_does_not_answer_is_no_failure(
    stage_with: Callable[..., Stage], scheduler_with: Callable[..., Any]
):
    (found,) = statuses([stage_with(*SENT, started())], scheduler_with(reachable=False))
    assert found.state == "unknown"
    assert found.why.startswith("scheduler unreachable; last word: started")


def test_a_submission_that_nobody_saw_the_end_of_is_found_by_its_comment(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage = stage_with(LAUNCHED, SUBMITTING)
    (found,) = statuses([stage], scheduler_with(job("77", "PENDING", comment=SUBMITTING[1]["comment"])))
    assert (found.state, found.job_id) == ("pending", "77")
    assert statuses([stage], scheduler_with())[0].state == "launched"


def test_a_stage_names_what_it_waits_for(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage_with(*SENT, started())
    evaluation = stage_with(LAUNCHED, SUBMITTING, submitted("13", dependency=["12"]), stage="eval")
    waiting = job("13", "PENDING", reason="Dependency")
    assert statuses([evaluation], scheduler_with(job("12", "RUNNING"), waiting))[0].why == "for train (12)"
    never = job("13", "PENDING", reason="DependencyNeverSatisfied")
    (found,) = statuses([evaluation], scheduler_with(job("12", "FAILED"), never))
    assert (found.state, "never start" in found.why, found.never_starts) == ("waiting", True, True)
    assert not statuses([evaluation], scheduler_with(job("12", "RUNNING"), waiting))[0].never_starts
    (found,) = statuses([evaluation], scheduler_with(job("12", "FAILED", exit_code=137), waiting))
    assert (found.state, "never start" in found.why, found.never_starts) == ("waiting", True, True)


@pytest.mark.parametrize("slurm", ["CANCELLED", None])
def test_what_ended_with_its_upstream_says_so(
    slurm: str | None,
    stage_with: Callable[..., Stage],
    job: Callable[..., Any],
    scheduler_with: Callable[..., Any],
):
    train = stage_with(*SENT, started(), FAILED)
    evaluation = stage_with(LAUNCHED, SUBMITTING, submitted("13", dependency=["12"]), stage="eval")
    jobs = [job("13", slurm, reason="DependencyNeverSatisfied")] if slurm else []
    assert [found.state for found in statuses([train, evaluation], scheduler_with(*jobs))] == ["failed", "cancelled"]
    assert "it waited for train (12)" in statuses([evaluation], scheduler_with(*jobs))[0].why


def test_stages_of_one_job_run_one_after_the_other(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    train, evaluation = stage_with(*SENT, started()), stage_with(*SENT, stage="eval")
    found = statuses([train, evaluation], scheduler_with(job("12", "RUNNING")))
    assert [one.state for one in found] == ["running", "waiting"]
    assert "in the same job" in found[1].why
    assert statuses([evaluation], scheduler_with(job("12", "RUNNING"))) == found[1:]
    train = stage_with(*SENT, started(), FAILED)
    assert [one.state for one in statuses([train, evaluation], scheduler_with())] == ["failed", "cancelled"]


def test_a_local_run_is_its_process(stage_with: Callable[..., Stage]):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stage = stage_with(LAUNCHED, started(job_id=None, **process_identity(child.pid)))
        assert statuses([stage])[0].state == "running"
        detached = stage_with(LAUNCHED, ("detached", {"log": "l", **process_identity(child.pid)}), run="rd/01")
        assert statuses([detached])[0].state == "running"
    finally:
        child.communicate(b"\n")
    (found,) = statuses([stage])
    assert (found.state, f"process {child.pid} is gone" in found.why) == ("lost", True)


def test_a_process_of_another_machine_cannot_be_seen(stage_with: Callable[..., Stage]):
    (found,) = statuses([stage_with(LAUNCHED, started(job_id=None, host=f"not-{socket.gethostname()}"))])
    assert (found.state, "cannot be seen from here" in found.why) == ("unknown", True)


def test_a_later_launch_counts(stage_with: Callable[..., Stage]):
    local = started(2, job_id=None, **process_identity(os.getpid()))
    (found,) = statuses([stage_with(*SENT, started(), FAILED, LAUNCHED, local)])
    assert (found.state, found.job_id) == ("running", None)


def test_progress_and_what_is_left(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage = stage_with(*SENT, started(), *(epoch(n) for n in range(1, 31)))
    (found,) = statuses([stage], scheduler_with(job("12", "RUNNING", elapsed=1900.0, time_limit=3600.0)))
    assert found.progress.text == "epoch 30/50  60 %"
    assert found.left == pytest.approx(20 * 60 - 60, abs=5)
    assert (found.elapsed, found.limit, found.attempt, found.max_attempts) == (1900.0, 3600.0, 1, 6)


def test_the_progress_of_an_evaluation(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    scored = [("scored", {"step": n, "n_trajectories": 40}) for n in (8, 16)]
    stage = stage_with(*SENT, started(), *scored, stage="eval")
    (found,) = statuses([stage], scheduler_with(job("12", "RUNNING")))
    assert found.progress.text == "trajectory 16/40  40 %"
    assert found.left == pytest.approx(24 / 8 * 60 - 60, abs=5)
    assert (found.document["trajectory"], found.document["n_trajectories"]) == (16, 40)


def test_attempts_are_counted_over_resubmissions(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage = stage_with(*SENT, started(), FAILED, LAUNCHED, SUBMITTING, submitted("15"), started(2, "15"))
    (found,) = statuses([stage], scheduler_with(job("15", "RUNNING")))
    assert (found.job_id, found.attempt, found.max_attempts) == ("15", 2, 7)


def test_a_marker_that_came_meanwhile_counts(
    stage_with: Callable[..., Stage], job: Callable[..., Any], scheduler_with: Callable[..., Any]
):
    stage = stage_with(*SENT, started(), ("finished", {"seconds": 1.0}))
    scheduler = scheduler_with(job("12", "COMPLETED"))

    class Late(type(scheduler)):  # type: ignore[misc]
        def find(self, job_ids: Any) -> Any:
            stage.directory.done_file("epd", "train").write_text("{}")
            return scheduler.find(job_ids)

    events = stage.directory.events_file("epd", "train")
    events.write_text(events.read_text().replace('"finished"', '"note"'))
    assert statuses([stage], Late())[0].state == "done"
