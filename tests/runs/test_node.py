"""How a job leaves: to be started again, or with nothing left that waits for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.runs import node
from autocast.runs.directory import RunDirectory
from autocast.runs.events import append_event
from autocast.runs.exits import DONE, FAILED, RESUMES, UPSTREAM
from autocast.runs.slurm import requeue
from tests.runs.plans import config
from tests.runs.slurm.conftest import FakeSlurm

SCONTROL = """
import json, sys
from pathlib import Path
here = Path(sys.argv[0]).resolve().parent
with (here / "calls.jsonl").open("a") as stream:
    stream.write(json.dumps(["scontrol", *sys.argv[1:]]) + "\\n")
state = (here / "state").read_text()
if sys.argv[1] == "requeue":
    sys.exit("scontrol: error: Requeue is not allowed" if state == "UNWILLING" else 0)
if state == "GONE":
    sys.exit("slurm_load_jobs error: Invalid job id specified")
if state == "SILENT":
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
state = "RUNNING" if state == "UNWILLING" else state
print(f"JobId=7 JobName=a JobState={state} Reason=None Dependency=(null) ExitCode=0:0 RunTime=00:01:00 "
      "TimeLimit=00:02:00 StartTime=Unknown EndTime=Unknown Partition=main NodeList=n1")
"""


class Job:
    """Job 7, which two others wait for."""

    def __init__(self, run: RunDirectory, slurm: FakeSlurm):
        self.run = run
        self.slurm = slurm

    def leave(self, code: int, state: str = "RUNNING", **cluster: Any) -> int:
        (self.slurm.directory / "state").write_text(state)
        file = self.run.config_file("epd")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(config(**cluster)))
        return node._leave(code, self.run, "epd", "train")

    @property
    def requeued(self) -> bool:
        return ["requeue", "7"] in self.slurm.calls("scontrol")

    @property
    def waiting(self) -> list[str]:
        return [job["id"] for job in self.slurm.jobs if job.get("dependency")]

    @property
    def last_word(self) -> str | None:
        events = self.run.events("epd", "train")
        return events[-1]["event"] if events else None


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    slurm = FakeSlurm(tmp_path / "slurm")
    (slurm.bin / "scontrol").write_text(f"#!{sys.executable} -IS\n{SCONTROL}")
    waits = {"state": "PENDING", "comment": "autocast:cafe0001:eval:beef", "dependency": "afterok:7(unfulfilled)"}
    slurm.jobs = [
        {"id": "7", "name": "train", "state": "RUNNING", "comment": "autocast:cafe0001:train:beef"},
        {"id": "8", "name": "eval", **waits},
        {"id": "9", "name": "eval-2", **waits},
    ]
    monkeypatch.setenv("PATH", str(slurm.bin))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(requeue, "PAUSES", (0.0,))
    return Job(RunDirectory(tmp_path / "run"), slurm)


def test_a_training_that_was_stopped_is_started_again(job: Job):
    assert job.leave(RESUMES) == RESUMES
    assert job.requeued
    assert job.last_word == "requeued"
    assert job.waiting == ["8", "9"]


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PREEMPTED"])
def test_what_someone_else_decided_stands(job: Job, state: str):
    """Requeued now, a job that was cancelled would come back from the dead."""
    assert job.leave(RESUMES, state) == RESUMES
    assert not job.requeued
    assert job.last_word == "left"
    assert job.waiting == ["8", "9"]


def test_a_job_that_the_controller_does_not_know_is_requeued_all_the_same(job: Job):
    assert job.leave(RESUMES, "GONE") == RESUMES
    assert job.requeued


def test_where_it_must_not_be_requeued_nothing_waits_in_vain(job: Job):
    assert job.leave(RESUMES, requeue=False) == RESUMES
    assert not job.requeued
    assert job.last_word == "ended"
    assert job.waiting == []


@pytest.mark.parametrize("state", ["UNWILLING", "SILENT"])
def test_where_it_cannot_be_requeued_nothing_waits_in_vain(job: Job, state: str):
    assert job.leave(RESUMES, state) == RESUMES
    assert job.last_word == "ended"
    assert job.waiting == []


def test_a_scheduler_that_is_gone_does_not_change_how_it_ended(job: Job, capfd: pytest.CaptureFixture[str]):
    job.slurm.plan(squeue=["down"])
    assert job.leave(RESUMES, "SILENT") == RESUMES
    assert job.last_word == "ended"
    assert "cannot be reached" in capfd.readouterr().err


@pytest.mark.parametrize("code", [FAILED, UPSTREAM])
def test_after_a_failure_the_scheduler_clears_up_or_else_the_job_does(job: Job, code: int):
    assert job.leave(code) == code
    assert job.waiting == ["8", "9"], "Slurm cancels them: kill-on-invalid-dependency"
    assert job.leave(code, kill_on_invalid_dependency=False) == code
    assert job.waiting == []
    assert not job.requeued


def test_after_a_success_nobody_is_asked(job: Job):
    assert job.leave(DONE) == DONE
    assert not (job.slurm.directory / "calls.jsonl").exists()


@pytest.mark.parametrize(("code", "left"), [(RESUMES, DONE), (FAILED, FAILED), (DONE, DONE)])
def test_the_first_of_several_tasks_speaks_for_all(job: Job, monkeypatch: pytest.MonkeyPatch, code: int, left: int):
    """srun would kill the job, and the first task with it, if another one left with anything else."""
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert job.leave(code) == left
    assert not (job.slurm.directory / "calls.jsonl").exists()
    assert job.last_word is None


def test_outside_of_a_job_there_is_nobody_to_ask(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    assert job.leave(RESUMES) == RESUMES
    assert not (job.slurm.directory / "calls.jsonl").exists()


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that are run, of a run that has a training and an evaluation; each ends as `ends` says."""
    ran: list[str] = []
    monkeypatch.setattr(node, "needs_torchrun", lambda *words: False)
    monkeypatch.setattr(node, "perform", lambda own, run, stage, *_: ran.append(f"{own} {stage}") or DONE)
    return ran


def both_stages(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    for stage, workflow in (("train", "train_epd"), ("eval", "evaluate")):
        run.record_dir("epd", stage).mkdir(parents=True)
        run.run_file("epd", stage).write_text(json.dumps({"workflow": workflow, "uid": "cafe0001"}))
    return run


def test_a_job_of_two_stages_runs_each_by_its_own_workflow(tmp_path: Path, performed: list[str]):
    run = both_stages(tmp_path)
    assert node.run_stages("train_epd", str(tmp_path), "train+eval") == (DONE, run, "epd", "eval")
    assert performed == ["train_epd train", "evaluate eval"]


def test_a_stage_that_does_not_end_well_is_the_last(
    tmp_path: Path, performed: list[str], monkeypatch: pytest.MonkeyPatch
):
    both_stages(tmp_path)
    monkeypatch.setattr(node, "perform", lambda *_: RESUMES)
    assert node.run_stages("train_epd", str(tmp_path), "train+eval")[::3] == (RESUMES, "train")


def test_only_one_task_goes_on_after_the_training(
    tmp_path: Path, performed: list[str], monkeypatch: pytest.MonkeyPatch
):
    both_stages(tmp_path)
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert node.run_stages("train_epd", str(tmp_path), "train+eval")[0] == DONE
    assert performed == ["train_epd train"]


def test_a_line_in_each_log_says_where_an_attempt_begins(
    tmp_path: Path, performed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = both_stages(tmp_path)
    start = {"job_id": "7", "restarts": 0, "start_id": "7.0", "attempt": 1, "step": 0}
    append_event(run.events_file("epd", "train"), "started", **start)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    headers: list[str] = []
    for restarts in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        node.run_stages("train_epd", str(tmp_path), "train")
        said = capsys.readouterr()
        assert said.out == said.err
        headers.append(said.out.partition(" host ")[0])
    assert headers == [
        "=== autocast epd train attempt 1 job 7 rank 1",
        "=== autocast epd train attempt 2 job 7 rank 1",
    ]


def test_torchrun_is_not_told_of_codes_that_it_would_take_for_crashes(
    tmp_path: Path, performed: list[str], monkeypatch: pytest.MonkeyPatch
):
    both_stages(tmp_path)
    leave: Callable[..., int] = lambda *_: RESUMES  # noqa: E731
    monkeypatch.setattr(node, "perform", leave)
    codes = []
    for name in ("", "TORCHELASTIC_RUN_ID"):
        if name:
            monkeypatch.setenv(name, "x")
        with pytest.raises(SystemExit) as left:
            node.main(["train_epd", str(tmp_path), "train"])
        codes.append(left.value.code)
    assert codes == [RESUMES, DONE]
