"""Ending runs: jobs in an order that leaves nothing waiting, processes by a signal, nothing of anybody else."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.cancel import MANY, cancel
from autocast.runs.console import Screen
from autocast.runs.events import process_identity
from autocast.runs.exits import DONE, SCHEDULER, USAGE
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.status import statuses
from tests.runs.slurm.conftest import FakeSlurm

MakeStage = Callable[..., Stage]
LAUNCHED: tuple[str, dict[str, Any]] = ("launched", {})
SLEEPER = "import signal, time; print(flush=True); time.sleep(600)"


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path_factory.mktemp("fake") / "slurm")
    monkeypatch.setenv("PATH", str(fake.bin))
    return fake


@pytest.fixture
def end(tmp_path: Path) -> Callable[..., int]:
    """`end(*names)`: cancels below the output base of the test."""

    def cancelled(*names: str, **options: Any) -> int:
        options = {"confirm": pytest.fail, **options}
        return cancel(names, tmp_path, Screen(as_json=options.pop("json", False)), **options)

    return cancelled


def submitted(job_id: str, *upstream: str) -> tuple[str, dict[str, Any]]:
    return "submitted", {"job_id": job_id, "comment": f"autocast:cafe0001:train:{job_id}", "dependency": list(upstream)}


def queued(job_id: str, *upstream: str, comment: str = "autocast:cafe0001:train:beef") -> dict[str, Any]:
    dependency = ",".join(f"afterok:{job}(unfulfilled)" for job in upstream) or "(null)"
    reason = "Dependency" if upstream else "None"
    state = "PENDING" if upstream else "RUNNING"
    return {
        "id": job_id, "comment": comment, "name": f"job-{job_id}", "state": state, "reason": reason,
        "dependency": dependency,
    }  # fmt: skip


def last_word(stage: Stage) -> str:
    return stage.directory.events(stage.kind, stage.stage)[-1]["event"]


def test_what_waits_is_cancelled_before_what_it_waits_for(slurm: FakeSlurm, stage_with: MakeStage, end):
    train = stage_with(LAUNCHED, submitted("41"))
    evaluation = stage_with(LAUNCHED, submitted("42", "41"), stage="eval")
    slurm.jobs = [queued("41"), queued("42", "41"), queued("44", "42"), queued("43", "41"), queued("50")]
    assert end("rd/00") == DONE
    (ids,) = slurm.calls("scancel")
    assert sorted(ids) == ["41", "42", "43", "44"]
    assert ids.index("44") < ids.index("42") < ids.index("41")
    assert ids[-1] == "41"
    assert [job["id"] for job in slurm.jobs] == ["50"]
    assert [last_word(stage) for stage in (train, evaluation)] == ["cancelled", "cancelled"]
    assert [status.state for status in statuses([train, evaluation])] == ["cancelled", "cancelled"]


def test_jobs_of_others_that_wait_are_left_alone(
    slurm: FakeSlurm, stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]
):
    stage_with(LAUNCHED, submitted("41"))
    slurm.jobs = [queued("41"), queued("60", "41", comment="plots"), queued("61", "41")]
    assert end("rd/00") == DONE
    assert slurm.calls("scancel") == [["61", "41"]]
    said = capsys.readouterr().out
    assert "cancelled  rd/00 epd train  job 41, was running" in said
    assert "cancelled  job 61 (job-61), which waited for one of them" in said


def test_once_more_is_no_mistake(slurm: FakeSlurm, stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]):
    stage = stage_with(LAUNCHED, submitted("41"))
    slurm.jobs = [queued("41")]
    assert [end("rd/00"), end("rd/00")] == [DONE, DONE]
    assert len(slurm.calls("scancel")) == 1
    assert "nothing to cancel" in capsys.readouterr().out
    assert [event["event"] for event in stage.directory.events("epd", "train")].count("cancelled") == 1


def test_a_job_that_ended_meanwhile_is_no_mistake(slurm: FakeSlurm, stage_with: MakeStage, end):
    stage_with(LAUNCHED, submitted("41"))
    slurm.jobs = [queued("41")]
    slurm.plan(scancel=["say:scancel: error: Kill job error on job id 41: Invalid job id specified"])
    assert end("rd/00") == DONE


def test_what_is_done_stays_done(slurm: FakeSlurm, stage_with: MakeStage, end):
    train = stage_with(LAUNCHED, submitted("41"), done=True)
    evaluation = stage_with(LAUNCHED, submitted("42", "41"), stage="eval")
    slurm.jobs = [queued("42")]
    assert end("rd/00") == DONE
    assert slurm.calls("scancel") == [["42"]]
    assert last_word(evaluation) == "cancelled"
    assert train.is_done
    assert last_word(train) == "submitted"


def test_many_are_cancelled_only_when_that_is_confirmed(
    slurm: FakeSlurm, stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]
):
    runs = [f"rd/{n:02}" for n in range(MANY + 1)]
    for n, run in enumerate(runs):
        stage_with(LAUNCHED, submitted(str(100 + n)), run=run)
    slurm.jobs = [queued(str(100 + n)) for n in range(MANY + 1)]
    asked: list[str] = []
    assert end(*runs, confirm=lambda question: asked.append(question) or False) == USAGE
    assert asked == [f"Cancel {MANY + 1} stages ({MANY + 1} jobs)?"]
    assert slurm.calls("scancel") == []
    assert "nothing was cancelled. Say --yes" in capsys.readouterr().err
    assert end(*runs[:MANY]) == DONE, "few are not asked about"
    assert len(slurm.calls("scancel")[0]) == MANY


def test_a_rehearsal_ends_nothing(slurm: FakeSlurm, stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]):
    stage = stage_with(LAUNCHED, submitted("41"))
    slurm.jobs = [queued("41"), queued("42", "41")]
    assert end("rd/00", dry_run=True) == DONE
    assert slurm.calls("scancel") == []
    assert last_word(stage) == "submitted"
    said = capsys.readouterr().out
    assert "would cancel  job 42" in said
    assert "nothing was written, nothing was started, nothing was cancelled" in said


def test_where_the_scheduler_is_silent_nothing_is_claimed(
    slurm: FakeSlurm, stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]
):
    stage = stage_with(LAUNCHED, submitted("41"))
    slurm.plan(squeue=["down"])
    assert end("rd/00") == SCHEDULER
    assert slurm.calls("scancel") == []
    assert last_word(stage) == "submitted"
    assert "not cancelled, for nobody can say what it is doing (scheduler unreachable" in capsys.readouterr().err


def test_a_document_says_what_was_ended(slurm: FakeSlurm, stage_with: MakeStage, end, capsys):
    stage = stage_with(LAUNCHED, submitted("41"))
    slurm.jobs = [queued("41"), queued("42", "41")]
    assert end("rd/00", json=True) == DONE
    document = json.loads(capsys.readouterr().out)
    assert document == {"cancelled": [{**stage.place, "job_id": "41"}], "jobs": ["42", "41"]}


def test_a_process_is_told_to_stop_and_runs_until_it_has(stage_with: MakeStage, end):
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stage = stage_with(LAUNCHED, ("started", {"attempt": 1, "step": 0, **process_identity(process.pid)}))
        process.send_signal(signal.SIGSTOP)  # it takes its time to save
        assert end("rd/00") == DONE
        (status,) = statuses([stage])
        assert (status.state, status.why) == ("running", "cancelled; ending")
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == -signal.SIGTERM
    (status,) = statuses([stage])
    assert status.state == "cancelled"


def test_a_process_elsewhere_is_ended_there(stage_with: MakeStage, end, capsys: pytest.CaptureFixture[str]):
    far = {"host": f"not-{socket.gethostname()}", "pid": 1, "process_start": "1"}
    stage = stage_with(LAUNCHED, ("started", {"attempt": 1, "step": 0, "time": time.time(), **far}))
    assert end("rd/00") == SCHEDULER
    assert "not cancelled" in capsys.readouterr().err
    assert last_word(stage) == "started"
