"""A job waits for what is being made, and is not sent where that would never come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.directory import UpstreamError
from autocast.runs.events import this_process
from autocast.runs.exits import SCHEDULER, UPSTREAM, exit_code
from autocast.runs.parents import Parent
from autocast.runs.slurm.queue import SchedulerError, SlurmJob
from autocast.runs.upstream import jobs_of_parents, jobs_to_wait_for
from autocast.runs.watch.stages import Stage
from tests.runs.plans import Jobs

MakeJob = Callable[..., SlurmJob]
MakeStage = Callable[..., Stage]
LAUNCHED: tuple[str, dict[str, Any]] = ("launched", {})
SUBMITTED: tuple[str, dict[str, Any]] = ("submitted", {"job_id": "41", "comment": "c", "dependency": []})
STARTED: tuple[str, dict[str, Any]] = ("started", {"attempt": 1, "step": 0, "job_id": "41", **this_process()})
FAILED: tuple[str, dict[str, Any]] = ("failed", {"error": "DataError", "message": "cut short", "code": 1})


def parent(stage: Stage) -> Parent:
    return Parent("model", stage.directory.checkpoint_file(stage.kind), stage.directory, stage.kind, pending=True)


def test_what_is_done_is_not_waited_for(stage_with: MakeStage):
    stage = stage_with(LAUNCHED, SUBMITTED, STARTED, done=True)
    assert jobs_of_parents([parent(stage)], Jobs(reachable=False)) == ()


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "REQUEUED"])
def test_what_is_being_made_is_waited_for_once(stage_with: MakeStage, job: MakeJob, state: str):
    one = parent(stage_with(LAUNCHED, SUBMITTED, STARTED))
    assert jobs_of_parents([one, one], Jobs(job("41", state))) == ("41",)


@pytest.mark.parametrize(
    ("events", "state", "said"),
    [
        ((SUBMITTED, STARTED, FAILED), None, r"is failed \(DataError: cut short\)"),
        ((SUBMITTED, STARTED), "FAILED", "is failed"),
        ((SUBMITTED, ("cancelled", {"by": "me"})), None, "is cancelled"),
        ((SUBMITTED, STARTED), None, "is lost .*no longer knows the job"),
        ((SUBMITTED, STARTED), "COMPLETED", "is lost .*no marker"),
        ((), None, "is launched .*it has not started"),
        ((("aborted", {"message": "interrupted", "code": 5}),), None, "is aborted"),
    ],
)
def test_what_is_not_going_to_be_made_is_refused(
    stage_with: MakeStage, job: MakeJob, events: tuple[Any, ...], state: str | None, said: str
):
    """Slurm would drop a dependency on a job that it no longer knows, and start at once."""
    stage = stage_with(LAUNCHED, *events)
    scheduler = Jobs(*([job("41", state)] if state else []))
    with pytest.raises(UpstreamError, match=f"its epd train {said}.*autocast resume") as refusal:
        jobs_of_parents([parent(stage)], scheduler)
    assert exit_code(refusal.value) == UPSTREAM


def test_where_nobody_can_say_it_is_a_matter_of_the_scheduler(stage_with: MakeStage):
    stage = stage_with(LAUNCHED, SUBMITTED, STARTED)
    with pytest.raises(SchedulerError, match=r"scheduler unreachable.*Try again") as refusal:
        jobs_of_parents([parent(stage)], Jobs(reachable=False))
    assert exit_code(refusal.value) == SCHEDULER


def test_no_job_can_wait_for_a_process(stage_with: MakeStage):
    stage = stage_with(LAUNCHED, ("started", {"attempt": 1, "step": 0, "job_id": None, **this_process()}))
    with pytest.raises(UpstreamError, match=r"running on this machine and not as a job.*autocast status .* --watch"):
        jobs_of_parents([parent(stage)], Jobs())


def test_a_run_that_is_named_is_waited_for_with_all_its_stages(stage_with: MakeStage, job: MakeJob, tmp_path: Path):
    train = stage_with(LAUNCHED, SUBMITTED, STARTED, done=True)
    second = ("submitted", {"job_id": "42", "comment": "d", "dependency": ["41"]})
    evaluation = stage_with(LAUNCHED, second, stage="eval")
    found = jobs_to_wait_for(["rd/00"], tmp_path, Jobs(job("42", "PENDING", reason="Dependency")))
    assert found == (("42",), (train, evaluation))


@pytest.mark.parametrize(("state", "waits"), [("RUNNING", ("41",)), ("PENDING", ("41",)), ("COMPLETED", ())])
def test_a_job_that_is_named_is_waited_for_while_it_is_there(
    tmp_path: Path, job: MakeJob, state: str, waits: tuple[str, ...]
):
    assert jobs_to_wait_for(["41"], tmp_path, Jobs(job("41", state))) == (waits, ())


def test_an_array_that_is_named_is_waited_for_as_a_whole(tmp_path: Path, job: MakeJob):
    tasks = [job("41_0", "COMPLETED"), job("41_1", "RUNNING"), job("412_0", "FAILED")]
    assert jobs_to_wait_for(["41"], tmp_path, Jobs(*tasks)) == (("41",), ())
    with pytest.raises(UpstreamError, match="41_1 has ended as FAILED"):
        jobs_to_wait_for(["41"], tmp_path, Jobs(tasks[0], job("41_1", "FAILED")))


@pytest.mark.parametrize(
    ("jobs", "said"),
    [([], "the scheduler does not know this job"), (["FAILED"], "has ended as FAILED"), (["TIMEOUT"], "TIMEOUT")],
)
def test_a_job_that_will_not_complete_is_refused(tmp_path: Path, job: MakeJob, jobs: list[str], said: str):
    with pytest.raises(UpstreamError, match=f"--after 41: .*{said}.*Nothing was sent"):
        jobs_to_wait_for(["41"], tmp_path, Jobs(*(job("41", state) for state in jobs)))
