"""What a stage printed: joined over jobs and attempts, read on across a requeue, and why there is nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.errors import ConfigError
from autocast.runs.events import append_event
from autocast.runs.watch import logs
from autocast.runs.watch.logs import Selection
from autocast.runs.watch.stages import Stage

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": []})
FAILED = ("failed", {"error": "ValueError", "message": "no", "traceback": "", "code": 1, "rank": 0})


def submitted(job_id: str) -> tuple[str, dict[str, Any]]:
    return ("submitted", {"job_id": job_id, "comment": "c", "dependency": []})


def started(attempt: int, job_id: str | None) -> tuple[str, dict[str, Any]]:
    return ("started", {"attempt": attempt, "job_id": job_id, "host": "n1", "pid": 1, "process_start": "0"})


def header(attempt: int, stage: str = "train", rank: int = 0) -> str:
    return f"=== autocast epd {stage} attempt {attempt} job 1 rank {rank} host n1 2026-01-01T00:00:00+0000 ==="


def write_log(stage: Stage, name: str, *lines: str) -> Path:
    file = stage.directory.logs_dir(stage.kind) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write("".join(f"{line}\n" for line in lines))
    return file


def printed(made: Stage, capsys: pytest.CaptureFixture[str], /, **selected: Any) -> list[str]:
    base = made.directory.path.parents[1]
    code = logs.show(made.directory.label, Selection(**selected), follow=False, json=False, output_base=base)
    assert code == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def stage(stage_with: Callable[..., Stage]) -> Stage:
    """Two attempts of job 9, whose number sorts last, then one of job 10; two ranks."""
    made = stage_with(
        LAUNCHED, submitted("9"), started(1, "9"), started(2, "9"), LAUNCHED, submitted("10"), started(3, "10"), FAILED
    )
    write_log(made, "9_0_log.out", "module loaded", header(1), "one", header(2), "two")
    write_log(made, "9_1_log.out", header(1, rank=1), "one of rank 1")
    write_log(made, "10_0_log.out", header(3), "bar 1%\rbar 100%", "three")
    write_log(made, "10_0_log.err", header(3), "ValueError: no")
    write_log(made, "99_0_log.out", "of another stage")
    return made


def test_files_are_joined_in_the_order_of_the_journal(stage: Stage, capsys: pytest.CaptureFixture[str]):
    lines = printed(stage, capsys)
    assert [line for line in lines if "===" not in line] == ["module loaded", "one", "two", "bar 100%", "three"]


def test_a_selection_is_shown(stage: Stage, capsys: pytest.CaptureFixture[str]):
    assert printed(stage, capsys, attempt=2) == [header(2), "two"]
    assert printed(stage, capsys, rank=1) == [header(1, rank=1), "one of rank 1"]
    assert printed(stage, capsys, err=True) == [header(3), "ValueError: no"]
    assert printed(stage, capsys, n_lines=1) == ["three"]


def test_what_is_not_there_is_refused_by_name(stage: Stage, capsys: pytest.CaptureFixture[str]):
    for selected, told in (
        ({"rank": 2}, "--rank 2: .* ranks 0, 1"),
        ({"attempt": 4}, "--attempt 4: .* has had 3"),
        ({"stage": "eval"}, "--stage eval: not in .* It has: epd train"),
    ):
        with pytest.raises(ConfigError, match=told):
            printed(stage, capsys, **selected)


def test_stages_that_share_a_job_share_its_files(stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]):
    train = stage_with(LAUNCHED, submitted("9"), started(1, "9"), ("finished", {"seconds": 1.0}), done=True)
    stage_with(LAUNCHED, submitted("9"), started(1, "9"), FAILED, stage="eval")
    write_log(train, "9_0_log.out", header(1), "trains", header(1, "eval"), "scores")
    assert printed(train, capsys, stage="train") == [header(1), "trains"]
    assert printed(train, capsys, stage="eval") == [header(1, "eval"), "scores"]


def test_the_stage_that_started_last_is_shown(stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]):
    train = stage_with(LAUNCHED, submitted("9"), started(1, "9"), FAILED)
    stage_with(LAUNCHED, submitted("10"), ("aborted", {"message": "m", "code": 5}), stage="eval")
    write_log(train, "9_0_log.out", "of the training")
    assert printed(train, capsys) == ["of the training"]


def test_a_detached_run_has_a_log(stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]):
    detached = ("detached", {"log": "/a/local-2_0_log.out", "host": "n1", "pid": 1, "process_start": "0"})
    stage = stage_with(LAUNCHED, detached, started(1, None), FAILED)
    write_log(stage, "local-1_0_log.out", "of an earlier one")
    write_log(stage, "local-2_0_log.out", "hello")
    assert printed(stage, capsys) == ["hello"]


@pytest.mark.parametrize(
    ("events", "slurm", "told"),
    [
        ((LAUNCHED, started(1, None), FAILED), None, "in the terminal that it was started from"),
        ((LAUNCHED, submitted("9")), ("PENDING", {"reason": "Priority"}), "no log yet (pending"),
        ((LAUNCHED, submitted("9")), ("FAILED", {"signal": 53, "exit_code": 0}), "its log folder is not there"),
        ((LAUNCHED,), None, "no log yet (launched"),
    ],
)
def test_it_is_said_why_there_is_no_log(
    events: tuple,
    slurm: tuple[str, dict[str, Any]] | None,
    told: str,
    stage_with: Callable[..., Stage],
    job: Callable[..., Any],
    scheduler_with: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    jobs = [job("9", slurm[0], **slurm[1])] if slurm else []
    monkeypatch.setattr("autocast.runs.slurm.queue.Scheduler", lambda: scheduler_with(*jobs))
    (line,) = printed(stage_with(*events), capsys)
    assert told in line


def test_one_document_for_scripts(stage: Stage, capsys: pytest.CaptureFixture[str]):
    base = stage.directory.path.parents[1]
    logs.show("rd/00", Selection(attempt=3), follow=False, json=True, output_base=base)
    document = json.loads(capsys.readouterr().out)
    assert document["lines"][1:] == ["bar 100%", "three"]
    assert [file["job_id"] for file in document["files"]] == ["9", "10"]


def test_a_log_is_followed_over_a_requeue_and_into_another_job(
    stage_with: Callable[..., Stage],
    job: Callable[..., Any],
    scheduler_with: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    stage = stage_with(LAUNCHED, submitted("9"), started(1, "9"))
    events = stage.directory.events_file("epd", "train")
    log = write_log(stage, "9_0_log.out", header(1), "one")
    scheduler = scheduler_with(job("9", "RUNNING"), job("10", "RUNNING"))
    monkeypatch.setattr("autocast.runs.slurm.queue.Scheduler", lambda: scheduler)
    monkeypatch.setattr(logs, "ASK_EVERY", 0.0)

    def requeue() -> None:
        scheduler.jobs()["9"] = job("9", "PENDING", reason="BeginTime")
        append_event(events, "stopped", reason="SIGUSR2", step=10, epoch=1, code=75)
        append_event(events, "requeued", job_id="9")
        with log.open("a") as stream:
            stream.write("half a li")

    def restart() -> None:
        scheduler.jobs()["9"] = job("9", "RUNNING")
        append_event(events, "started", **started(2, "9")[1])
        write_log(stage, "9_0_log.out", "ne", header(2), "two")

    def resubmit() -> None:
        append_event(events, "launched")
        append_event(events, "submitted", **submitted("10")[1])
        append_event(events, "started", **started(3, "10")[1])
        write_log(stage, "10_0_log.out", header(3), "three")

    def finish() -> None:
        with (stage.directory.logs_dir("epd") / "10_0_log.out").open("a") as stream:
            stream.write("the end, without a newline")
        stage.directory.done_file("epd", "train").write_text("{}")

    steps = iter([requeue, restart, resubmit, finish])
    monkeypatch.setattr(logs.time, "sleep", lambda _: next(steps)())
    base = stage.directory.path.parents[1]
    assert logs.show("rd/00", Selection(), follow=True, json=False, output_base=base) == 0
    captured = capsys.readouterr()
    lines = [line for line in captured.out.splitlines() if "===" not in line]
    assert lines == ["one", "half a line", "two", "three", "the end, without a newline"]
    assert "rd/00 epd train is requeued: stopped after step 10 by a time limit" in captured.err
    assert captured.err.splitlines()[-1] == "rd/00 epd train is done"


def test_ctrl_c_stops_following_and_not_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage_with: Callable[..., Stage]
):
    made = stage_with(LAUNCHED, ("started", {**started(1, None)[1], "host": "elsewhere"}), run="rd/01")

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(logs.time, "sleep", interrupted)
    base = made.directory.path.parents[1]
    assert logs.show("rd/01", Selection(), follow=True, json=False, output_base=base) == 0
    assert f"the run goes on. autocast status {made.directory.path}" in capsys.readouterr().err
