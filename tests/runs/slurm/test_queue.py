"""What is read from squeue, sacct and scontrol, also where they are strange."""

from __future__ import annotations

from datetime import datetime

import pytest

from autocast.runs.slurm.commands import RefusedError, SchedulerError, UnreachableError, ask
from autocast.runs.slurm.queue import Scheduler, accounting, in_words, queue, show_job

SHOWN = (
    "JobId=25 ArrayJobId=21 ArrayTaskId=3 JobName=name with a=b UserId=root(0) GroupId=root(0) JobState=FAILED "
    "Reason=JobLaunchFailure Dependency=(null) Requeue=1 Restarts=0 ExitCode=0:53 RunTime=1-00:00:10 "
    "TimeLimit=UNLIMITED StartTime=2026-11-25T20:56:43 EndTime=2026-11-25T20:56:45 Partition=main NodeList=n[1-2] "
    "CPUs/Task=1 Command=(null) Comment=autocast:a:train:1  StdErr=/nope/x Power= \n"
)


def job(number: str, **more: object) -> dict[str, object]:
    return {"id": number, "state": "RUNNING", "name": "train", "comment": "", **more}


def record(number: str, state: str, start: str = "2026-11-25T21:02:12", user: str = "root", code: str = "0:0"):
    return (number, state, "None", "train", "", "main", code, "65", "5", start, "Unknown", "n1", user)


def test_names_and_comments_may_hold_anything(slurm):
    slurm.jobs = [job("7", name="a | b\x1fc", comment="ü; x=1 | y"), job("8", name="x" + "ü" * 250)]
    found = queue()
    assert (found["7"].name, found["7"].comment) == ("a | b\x1fc", "ü; x=1 | y")
    assert found["8"].state == "RUNNING"
    assert len(slurm.calls("squeue")) == 1


def test_a_running_job(slurm):
    slurm.jobs = [job("7", dependency="afterok:5(unfulfilled),afterany:6_2(unfulfilled)")]
    found = queue()["7"]
    assert (found.elapsed, found.time_limit, found.reason) == (65.0, 26 * 3600.0, "")
    assert found.start == datetime(2031, 5, 6, 7, 8, 9).timestamp()
    assert (found.exit_code, found.signal, found.end) == (None, None, None)
    assert found.upstream == ("5", "6_2")
    assert found.is_active


@pytest.mark.parametrize(("status", "ending"), [(768, (3, None)), (9, (0, 9)), (4021, (0, 53)), (0, (0, None))])
def test_the_ending_of_a_job_that_the_controller_still_knows(slurm, status, ending):
    slurm.jobs = [job("7", state="FAILED", status=status)]
    found = queue()["7"]
    assert (found.exit_code, found.signal) == ending
    assert not found.is_active


def test_an_unlimited_job_has_no_limit(slurm):
    slurm.jobs = [job("7", limit="UNLIMITED")]
    assert queue()["7"].time_limit is None


def test_a_federation_names_its_clusters(slurm):
    slurm.plan(squeue=["federated"])
    slurm.jobs = [job("7"), job("8_0")]
    assert list(queue()) == ["7", "8_0"]


def test_a_user_s_settings_of_squeue_do_not_matter(slurm, monkeypatch):
    from autocast.runs.slurm.commands import scheduler_environment

    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    assert not {"SQUEUE_STATES", "SLURM_TIME_FORMAT"} & scheduler_environment().keys()


@pytest.mark.parametrize("answer", ["down", "hang"])
def test_a_silent_controller_is_unreachable(slurm, impatient, answer):
    slurm.plan(squeue=[answer])
    with pytest.raises(UnreachableError):
        Scheduler().find(["7"])


def test_a_machine_without_a_cluster_says_so(slurm):
    slurm.remove("squeue")
    with pytest.raises(SchedulerError, match="login node"):
        queue()


def test_the_accounting_answers_for_what_the_controller_forgot(slurm):
    slurm.jobs = [job("7")]
    slurm.account(record("5", "FAILED", code="3:0"), record("6", "CANCELLED by 1000"))
    scheduler = Scheduler()
    found = scheduler.find(["7", "5", "6", "4"])
    assert [found[number] and found[number].state for number in ("7", "5", "6", "4")] == [
        *("RUNNING", "FAILED", "CANCELLED"),
        None,
    ]
    assert found["5"].exit_code == 3
    scheduler.find(["5", "6"])
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1)


def test_the_latest_start_of_a_requeued_job_counts(slurm):
    slurm.account(record("5", "COMPLETED", "2026-11-25T21:10:00"), record("5", "REQUEUED", "2026-11-25T21:02:12"))
    assert accounting(["5"])["5"].state == "COMPLETED"


def test_the_queue_wins_over_an_accounting_that_lies(slurm):
    """It says COMPLETED of a job that was requeued, and RUNNING of one that the controller lost."""
    slurm.jobs = [job("7", state="PENDING")]
    slurm.account(record("7", "COMPLETED"), record("8", "RUNNING"), record("9", "RUNNING", user="colleague"))
    found = Scheduler().find(["7", "8", "9"])
    assert found["7"].state == "PENDING"
    assert found["8"] is None
    assert found["9"].state == "RUNNING"


@pytest.mark.parametrize("missing", ["disabled", "absent"])
def test_without_accounting_the_queue_is_all(slurm, missing):
    slurm.plan(sacct=["disabled"])
    if missing == "absent":
        slurm.remove("sacct")
    slurm.jobs = [job("7")]
    found = Scheduler().find(["7", "5"])
    assert (found["7"].state, found["5"]) == ("RUNNING", None)
    assert accounting(["5"]) is None


def test_nothing_is_asked_about_nothing(slurm):
    assert Scheduler().find([]) == {}
    assert not slurm.calls("squeue")


def test_of_two_jobs_with_a_comment_the_active_one_counts(slurm):
    slurm.jobs = [job("7", state="FAILED", comment="c"), job("8", comment="c"), job("9", state="FAILED", comment="c")]
    scheduler = Scheduler()
    assert scheduler.by_comment("c").job_id == "8"
    assert scheduler.by_comment("other") is None


def test_one_job_as_the_controller_has_it(slurm):
    assert show_job("25") is None
    slurm.plan(scontrol=["down"])
    with pytest.raises(UnreachableError):
        show_job("25")


def test_one_task_of_an_array_as_the_controller_has_it(slurm, monkeypatch):
    from autocast.runs.slurm import queue as module
    from autocast.runs.slurm.commands import Answer

    monkeypatch.setattr(module, "ask", lambda *words: Answer("scontrol", 0, SHOWN, ""))
    found = show_job("21_3")
    assert (found.state, found.exit_code, found.signal, found.reason) == ("FAILED", 0, 53, "JobLaunchFailure")
    assert (found.name, found.comment, found.nodes) == ("name with a=b", "autocast:a:train:1", "n[1-2]")
    assert (found.elapsed, found.time_limit) == (86410.0, None)
    assert show_job("21_2") is None


def test_what_a_hanging_program_started_dies_with_it(tmp_path, impatient, monkeypatch):
    wrapper = tmp_path / "sbatch"
    wrapper.write_text("#!/bin/bash\n/bin/sleep 60\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask("sbatch").hung


def test_a_secret_in_a_message_is_not_repeated(tmp_path, monkeypatch):
    file = tmp_path / "sbatch"
    file.write_text('#!/bin/bash\necho "sbatch: error: bad token=hunter22" >&2; exit 1\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = ask("sbatch").error
    assert isinstance(error, RefusedError)
    assert "hunter22" not in str(error)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", "waiting for the scheduler to look at it"),
        ("Priority", "other jobs have a higher priority"),
        ("AssocGrpGRES", "your account has reached its GPU limit"),
        ("AssocGrpGRESMinutes", "your account has used up its GPU time"),
        ("QOSMaxGRESPerUser", "the QOS has reached its GPU limit for each user"),
        ("QOSMaxCpuPerUserLimit", "the QOS has reached its CPU limit for each user"),
        ("AssocMaxWallDurationPerJobLimit", "your account has reached its time limit for one job"),
        ("QOSMaxSubmitJobPerUserLimit", "the QOS has reached its limit of jobs in the queue for each user"),
        ("QOSMinGRES", "the QOS wants jobs to ask for more (GPU)"),
        ("ReqNodeNotAvail, UnavailableNodes:n4", "the nodes are down, reserved, or about to be for maintenance"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "the nodes it needs are down, drained, or reserved for partitions of a higher priority",
        ),
        ("Something_New", "Something New"),
    ],
)
def test_reasons_in_words(reason, words):
    assert in_words(reason) == words
