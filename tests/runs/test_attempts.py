"""A job that is started again and again without getting anywhere is ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.attempts import StuckError, SupersededError, begin
from autocast.runs.console import Screen
from autocast.runs.directory import RunDirectory
from autocast.runs.events import append_event
from autocast.runs.job import Job
from tests.runs.plans import config


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this process a task of a scheduler's job."""

    def enter(restarts: int = 0, rank: int = 0) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        monkeypatch.setenv("SLURM_PROCID", str(rank))

    return enter


def job_in(path: Path, stage: str = "train", max_attempts: int = 20) -> Job:
    settings = config(max_attempts=max_attempts)
    return Job("train_epd", RunDirectory(path), "epd", stage, settings, Screen())


def starts(job: Job) -> list[dict[str, Any]]:
    return [event for event in job.directory.events(job.kind, job.stage) if event["event"] == "started"]


def reach(job: Job, step: int) -> None:
    job.emit("checkpoint", step=step, epoch=1, file="last.ckpt")


def test_attempts_are_counted_and_told_where_they_begin(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path)
    in_job()
    begin(job)
    reach(job, 40)
    in_job(restarts=1)
    begin(job)
    told = [{key: event[key] for key in ("attempt", "step", "job_id", "restarts")} for event in starts(job)]
    assert told == [
        {"attempt": 1, "step": 0, "job_id": "7", "restarts": 0},
        {"attempt": 2, "step": 40, "job_id": "7", "restarts": 1},
    ]


def test_two_attempts_that_got_no_further_are_enough(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path)
    reach(job, 40)
    for restarts in range(2):
        in_job(restarts)
        begin(job)
    in_job(restarts=2)
    with pytest.raises(StuckError, match=r"2 attempts in a row got no further than step 40.*autocast why"):
        begin(job)
    assert len(starts(job)) == 2


def test_one_fruitless_attempt_may_have_met_a_broken_node(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path)
    for restarts in range(6):
        in_job(restarts)
        begin(job)
        reach(job, 10 * (restarts // 2 + 1))
    assert starts(job)[-1]["attempt"] == 6


def test_an_evaluation_is_at_the_trajectory_that_it_scored_last(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path, stage="eval")
    for restarts in range(4):
        in_job(restarts)
        begin(job)
        job.emit("scored", step=2 * min(restarts, 2) + 2)
    in_job(4)
    begin(job)
    in_job(5)
    with pytest.raises(StuckError, match=r"no further than trajectory 6.*a smaller eval\.batch_size"):
        begin(job)
    assert starts(job)[-1]["step"] == 6


def test_a_limit_ends_what_crawls(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path, max_attempts=3)
    for restarts in range(3):
        in_job(restarts)
        begin(job)
        reach(job, restarts)
    in_job(restarts=3)
    with pytest.raises(StuckError, match=r"cluster\.max_attempts=3.*autocast resume"):
        begin(job)


def test_who_launches_it_again_gives_it_new_attempts(tmp_path: Path, in_job: Callable[..., None]):
    job = job_in(tmp_path, max_attempts=2)
    for launch in range(2):
        append_event(job.directory.events_file("epd", "train"), "launched", action="continue")
        for restarts in range(2):
            in_job(10 * launch + restarts)
            begin(job)
    assert [event["attempt"] for event in starts(job)] == [1, 2, 3, 4], "numbers go on"


def test_where_nobody_restarts_it_nobody_counts(tmp_path: Path):
    job = job_in(tmp_path, max_attempts=1)
    for _ in range(4):
        begin(job)
    assert starts(job)[-1]["attempt"] == 4


def test_a_process_that_looks_late_does_not_count_its_own_attempt(tmp_path: Path, in_job: Callable[..., None]):
    """The first one may have journaled the start by then."""
    job = job_in(tmp_path, max_attempts=2)
    for restarts in range(2):
        for rank in (0, 1):
            in_job(restarts, rank)
            begin(job)
    assert [event["attempt"] for event in starts(job)] == [1, 2]


def test_a_job_whose_stage_was_sent_once_more_does_nothing(tmp_path: Path, in_job: Callable[..., None]):
    """Two jobs in one directory would write over each other."""
    job = job_in(tmp_path)
    in_job()
    for job_id in ("7", "8"):
        job.emit("submitting", comment="c")
        begin(job)  # Slurm may be quicker than the command that submits
        job.emit("submitted", job_id=job_id, comment="c")
    with pytest.raises(SupersededError, match="job 8 has taken this train over; job 7 did nothing"):
        begin(job)
