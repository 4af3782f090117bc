"""Each job is there exactly once, whatever the scheduler does, and nothing else is left behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.events import append_event, read_events
from autocast.runs.slurm import submit as module
from autocast.runs.slurm.commands import AbsentError, RefusedError, SchedulerError, UnreachableError
from autocast.runs.slurm.queue import Scheduler
from autocast.runs.slurm.spool import Spool
from autocast.runs.slurm.submit import UnknownOutcomeError, cancel, reconcile, script, submit


class Journal:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.events.append({"event": event, "time": time.time(), **fields})

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


@pytest.fixture
def journal() -> Journal:
    return Journal()


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def words_of(file: Path) -> tuple[str, ...]:
    delayed = pickle.loads(file.read_bytes())
    assert (delayed.function.__module__, delayed.function.__name__) == ("autocast.runs.node", "run_job")
    return delayed.args


def ids(slurm) -> list[str]:
    return [job["id"] for job in slurm.jobs]


def test_a_job_finds_its_pickle_and_its_logs(slurm, make, journal):
    submission = make(dependency=("7", "8"))
    assert submit([submission], journal) == ["101"]
    assert files(submission.log_dir) == ["101_submission.sh", "101_submitted.pkl"]
    assert words_of(submission.log_dir / "101_submitted.pkl") == submission.words
    assert (submission.log_dir / "101_submission.sh").read_text() == script(submission)
    assert journal.names == ["submitting", "submitted"]
    said = {"job_id": "101", "adopted": False, "dependency": ["7", "8"], "time_limit": 43200, "max_attempts": 20}
    assert said.items() <= journal.events[1].items()


def test_the_intent_is_journaled_before_the_scheduler_is_called(slurm, make, journal):
    calls = []
    submit([make()], lambda event, **fields: calls.append((event, len(slurm.calls("sbatch")))))
    assert calls == [("submitting", 0), ("submitted", 1)]


def test_several_become_one_array(slurm, make, journal):
    first, second = make(1), make(2)
    assert submit([first, second], journal) == ["101_0", "101_1"]
    assert len(slurm.calls("sbatch")) == 1
    assert files(first.log_dir) == ["101_0_submitted.pkl", "101_1_submitted.pkl", "101_submission.sh"]
    assert words_of(first.log_dir / "101_1_submitted.pkl") == second.words
    assert (first.log_dir / "101_submission.sh").read_text() == script(first, 2)
    assert [(e["comment"], e["job_id"]) for e in journal.events[2:]] == [
        (first.comment, "101_0"),
        (second.comment, "101_1"),
    ]


@pytest.mark.parametrize("answer", ["federated", "parsable", "talk"])
def test_the_id_is_found_in_what_is_said_around_it(slurm, make, journal, answer):
    slurm.plan(sbatch=[answer])
    assert submit([make()], journal) == ["101"]


@pytest.mark.parametrize("answer", ["accept, then time out", "accept, then hang", "mumble"])
def test_what_was_accepted_unheard_is_adopted(slurm, make, journal, impatient, answer):
    slurm.plan(sbatch=[answer])
    submission = make()
    assert submit([submission], journal) == ["101"]
    assert ids(slurm) == ["101"]
    assert len(slurm.calls("sbatch")) == 1
    assert files(submission.log_dir) == ["101_submission.sh", "101_submitted.pkl"]
    assert journal.events[-1]["adopted"] is True


def test_an_array_that_was_accepted_unheard_is_adopted(slurm, make, journal):
    slurm.plan(sbatch=["accept, then time out"])
    assert submit([make(1), make(2)], journal) == ["101_0", "101_1"]
    assert "101_1_submitted.pkl" in files(make().log_dir)


@pytest.mark.parametrize("answers", [["down", "down"], ["full", "time out"], ["time out", "down", "full"], ["hang"]])
def test_an_error_that_passes_is_tried_again(slurm, make, journal, impatient, answers):
    slurm.plan(sbatch=[*answers, "ok"])
    assert submit([make()], journal) == ["101"]
    assert ids(slurm) == ["101"]
    assert len(slurm.calls("sbatch")) == len(answers) + 1


def test_a_controller_that_never_got_the_request_is_not_searched(slurm, make, journal):
    slurm.plan(sbatch=["down", "ok"])
    submit([make()], journal)
    assert not slurm.calls("squeue")


def test_a_job_that_appears_late_is_cancelled_when_the_next_try_made_another(slurm, make, journal, monkeypatch):
    submission = make()
    slurm.plan(sbatch=["time out", "ok"])
    real = module._accepted_unheard

    def found_nothing_yet(comment: str) -> None:
        assert real(comment) is None
        slurm.jobs = [{"id": "55", "comment": comment, "name": "late", "state": "PENDING"}]

    monkeypatch.setattr(module, "_accepted_unheard", found_nothing_yet)
    assert submit([submission], journal) == ["56"]
    assert ids(slurm) == ["56"]


def test_a_refusal_is_explained_and_not_repeated(slurm, make, journal):
    slurm.plan(sbatch=["say:sbatch: error: Batch job submission failed: Invalid qos specification"])
    submission = make()
    with pytest.raises(RefusedError, match=r"Invalid qos specification\. .*cluster\.qos=NAME"):
        submit([submission], journal)
    assert len(slurm.calls("sbatch")) == 1
    assert files(submission.log_dir) == []
    assert journal.names == ["submitting", "not_submitted"]


@pytest.mark.parametrize("answer", ["down", "full", "time out", "hang"])
def test_nothing_is_left_where_no_try_succeeds(slurm, make, journal, impatient, monkeypatch, answer):
    slurm.plan(sbatch=[answer])
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0) if answer != "hang" else ())
    with pytest.raises(UnreachableError):
        submit([make()], journal)
    assert ids(slurm) == []
    assert files(make().log_dir) == []
    assert journal.names[-1] == "not_submitted"


def test_there_is_a_limit_to_the_time_that_tries_may_take(slurm, make, journal, monkeypatch):
    slurm.plan(sbatch=["down"])
    monkeypatch.setattr(module, "GIVE_UP", -1.0)
    with pytest.raises(UnreachableError):
        submit([make()], journal)
    assert len(slurm.calls("sbatch")) == 1


def test_without_a_scheduler_the_remedy_is_named(slurm, make, journal):
    slurm.remove("sbatch")
    with pytest.raises(AbsentError, match=r"no sbatch on this machine.*login node"):
        submit([make()], journal)
    assert journal.names[-1] == "not_submitted"


def test_an_outcome_that_nobody_can_tell_stays_open_until_someone_can(slurm, make, journal):
    slurm.plan(sbatch=["accept, then time out"], squeue=["down"])
    submission = make()
    with pytest.raises(UnknownOutcomeError, match="do not submit it again"):
        submit([submission], journal)
    assert journal.names == ["submitting"]
    slurm.plan()
    assert settle(journal) == "101"
    assert files(submission.log_dir) == ["101_submission.sh", "101_submitted.pkl"]
    assert journal.events[-1]["adopted"] is True
    assert journal.events[-1]["time_limit"] == 43200


def settle(journal: Journal) -> str | None:
    """As a later command would: the process that began it is gone."""
    events = [{**event, "process_start": "0"} if "process_start" in event else event for event in journal.events]
    return reconcile(events, journal, Scheduler())


@pytest.fixture
def begun(make, journal) -> Journal:
    """A submission whose command was killed before sbatch."""

    def die(*args: object) -> None:
        raise SystemExit(9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_send", die)
        with pytest.raises(SystemExit):
            submit([make()], journal)
    assert journal.names == ["submitting"]
    return journal


def test_a_killed_command_without_a_job_is_settled(slurm, begun, make):
    assert files(make().log_dir) != []
    assert settle(begun) is None
    assert begun.names == ["submitting", "not_submitted"]
    assert files(make().log_dir) == []
    assert settle(begun) is None
    assert len(begun.events) == 2


def test_a_killed_command_with_a_job_is_settled(slurm, begun, make):
    subprocess.run([slurm.bin / "sbatch", Spool(make().log_dir, make().comment).script], check=True)
    assert settle(begun) == "101"
    assert words_of(make().log_dir / "101_submitted.pkl") == make().words
    assert settle(begun) is None


def test_a_job_that_was_given_up_meanwhile_is_ended(slurm, begun, make):
    subprocess.run([slurm.bin / "sbatch", Spool(make().log_dir, make().comment).script], check=True)
    begun("aborted", message="interrupted")
    assert settle(begun) is None
    assert ids(slurm) == []
    assert begun.names[-1] == "not_submitted"


def test_a_submission_that_is_under_way_is_left_alone(slurm, begun, make):
    assert reconcile(begun.events, begun, Scheduler()) is None
    elsewhere = [{**event, "host": "login2"} for event in begun.events]
    assert reconcile(elsewhere, begun, Scheduler()) is None
    assert begun.names == ["submitting"]
    long_ago = [{**event, "time": time.time() - 3600} for event in elsewhere]
    assert reconcile(long_ago, begun, Scheduler()) is None
    assert begun.names == ["submitting", "not_submitted"]


def test_nothing_is_settled_while_the_scheduler_cannot_be_asked(slurm, begun):
    slurm.plan(squeue=["down"])
    with pytest.raises(SchedulerError):
        settle(begun)
    assert begun.names == ["submitting"]


def test_the_journal_of_a_stage_is_enough_to_settle(slurm, make, tmp_path):
    file = tmp_path / "events.jsonl"
    slurm.plan(sbatch=["accept, then time out"], squeue=["down"])
    with pytest.raises(UnknownOutcomeError):
        submit([make(1), make(2)], lambda event, **fields: append_event(file, event, **fields))
    slurm.plan()
    second = [{**event, "process_start": "0"} for event in read_events(file)][1:]
    assert reconcile(second, lambda event, **fields: append_event(file, event, **fields), Scheduler()) == "101_1"
    assert files(make().log_dir) == ["101_0_submitted.pkl", "101_1_submitted.pkl", "101_submission.sh"]


def test_an_interrupt_leaves_no_job(slurm, make, journal, monkeypatch):
    def interrupt(submission: object) -> None:
        subprocess.run([slurm.bin / "sbatch", Spool(make().log_dir, make().comment).script], check=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_send", interrupt)
    with pytest.raises(KeyboardInterrupt):
        submit([make()], journal)
    assert ids(slurm) == []
    assert files(make().log_dir) == []
    assert journal.names == ["submitting", "not_submitted"]


@pytest.mark.parametrize(
    "said",
    [
        "scancel: error: Kill job error on job id 7: Invalid job id specified",
        "scancel: error: Kill job error on job id 7: Job/step already completing or completed",
    ],
)
def test_what_is_over_can_be_cancelled(slurm, said):
    slurm.plan(scancel=[f"say:{said}"])
    cancel(["7"])
    cancel([])
    assert slurm.calls("scancel") == [["7"]]


def test_a_cancellation_that_is_refused_is_told(slurm):
    slurm.plan(scancel=["say:scancel: error: Kill job error on job id 7: Access/permission denied"])
    with pytest.raises(RefusedError, match="permission denied"):
        cancel(["7"])


def test_settings_of_a_surrounding_job_do_not_reach_the_new_one(slurm, section, monkeypatch):
    from autocast.runs.slurm.resources import submission_environment

    inherited = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "5", "SUBMITIT_EXECUTOR": "slurm", "LOCAL_RANK": "1"}
    kept = {"SLURM_CONF": "/etc/own.conf", "SBATCH_ACCOUNT": "mine", "HOME": "/home/me"}
    for name, value in {**inherited, **kept, "SBATCH_PARTITION": "other", "SBATCH_SIGNAL": "USR1"}.items():
        monkeypatch.setenv(name, value)
    environ = submission_environment(section(partition="gpu"))
    assert kept.items() <= environ.items()
    assert not environ.keys() & {*inherited, "SBATCH_PARTITION", "SBATCH_SIGNAL"}
    assert "SBATCH_PARTITION" in submission_environment(section())


def test_a_script_is_rendered_without_a_scheduler_and_writes_nothing(slurm, make, tmp_path):
    for program in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
        slurm.remove(program)
    script(make())
    assert not (tmp_path / "outputs").exists()


def test_asking_the_queue_imports_neither_hydra_nor_submitit():
    code = (
        "import sys, autocast.runs.slurm.queue, autocast.runs.slurm.submit;"
        "assert not {'torch', 'hydra', 'submitit', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
