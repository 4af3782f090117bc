"""Statuses and causes of real jobs: what SLURM says of an end is what these rest on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.watch.causes import cause, evidence
from autocast.runs.watch.journal import read_journal
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.status import StageStatus, statuses
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.e2e

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": []})
SLEEPS = "sleep 600"


def sent(job_id: str, *dependency: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    return (LAUNCHED, ("submitted", {"job_id": job_id, "comment": "c", "dependency": [*dependency]}))


def explained(status: StageStatus) -> str:
    stage = status.stage
    return cause(evidence(status, read_journal(stage.directory.events_file(stage.kind, stage.stage))))


def test_how_jobs_end(slurm: Cluster, stage_with: Callable[..., Stage], tmp_path: Path):
    bodies = {
        "failed": ("exit 3",),
        "killed": ("kill -9 $$",),
        "empty": ("exit 0",),
        "unlogged": ("exit 0", f"--output={tmp_path}/not/there/%j.out"),
        "cancelled": (SLEEPS, "--hold"),
        "held": (SLEEPS, "--hold"),
    }
    jobs = {name: slurm.submit(*words, cwd=tmp_path) for name, words in bodies.items()}
    slurm.cancel(jobs["cancelled"])
    for name in bodies:
        if name != "held":
            slurm.wait_for(jobs[name])
    found = dict(
        zip(bodies, statuses([stage_with(*sent(jobs[name]), run=f"rd/{name}") for name in bodies]), strict=True)
    )
    assert {name: (status.state, explained(status)) for name, status in found.items()} == {
        "failed": ("failed", "environment"),  # it never said that it had started
        "killed": ("failed", "killed"),
        "empty": ("lost", "lost"),
        "unlogged": ("failed", "launch failure"),
        "cancelled": ("cancelled", "cancelled"),
        "held": ("pending", "pending"),
    }
    assert found["failed"].why == "exit code 3, and no word of its own"
    assert found["held"].why == "held by its owner (scontrol release)"


@pytest.mark.parametrize(("option", "state"), [("yes", "cancelled"), ("no", "waiting")])
def test_what_becomes_of_a_dependent(
    option: str, state: str, slurm: Cluster, stage_with: Callable[..., Stage], tmp_path: Path
):
    parent = slurm.submit(f"{SLEEPS}", "--hold", cwd=tmp_path)
    words = (f"--dependency=afterok:{parent}", f"--kill-on-invalid-dep={option}")
    child = slurm.submit("exit 0", *words, cwd=tmp_path)
    stages = [stage_with(*sent(parent)), stage_with(*sent(child, parent), stage="eval")]
    assert [(found.state, found.why) for found in statuses(stages)][1] == ("waiting", f"for train ({parent})")
    slurm.cancel(parent)
    slurm.wait_for(parent)
    never = lambda job: job["JobState"] == "CANCELLED" or job["Reason"] == "DependencyNeverSatisfied"  # noqa: E731
    slurm.wait_until(child, never)
    found = statuses(stages)
    assert [status.state for status in found] == ["cancelled", state]
    assert f"train ({parent})" in found[1].why
    assert "did not complete" in found[1].why


def test_a_job_that_is_forgotten_is_lost(forgetful_slurm: Cluster, stage_with: Callable[..., Stage], tmp_path: Path):
    job = forgetful_slurm.submit("exit 0", cwd=tmp_path)
    forgetful_slurm.wait_forgotten(job)
    (found,) = statuses([stage_with(*sent(job))])
    assert (found.state, "no longer knows the job" in found.why) == ("lost", True)
