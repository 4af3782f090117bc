"""Which process of which job this is."""

from __future__ import annotations

import os
import socket

import pytest

from autocast.runs import ranks

ALLOCATION = {
    "SLURM_JOB_ID": "7",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "PMI_RANK": "1",
    "PMIX_RANK": "1",
    "SUBMITIT_EXECUTOR": "slurm",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is set by the code that is tested goes away again."""
    foreign = ("RANK", "MASTER_", "TORCHELASTIC_", *ranks.FORGOTTEN)
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith(foreign)})


def enter(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_alone_a_process_is_the_first_one_of_no_job():
    assert (ranks.rank(), ranks.job_id(), ranks.restarts(), ranks.inside_torchrun()) == (0, None, 0, False)
    assert ranks.start_id() is None


def test_the_scheduler_tells_which_one_it_is_and_torchrun_knows_better(monkeypatch: pytest.MonkeyPatch):
    enter(monkeypatch, **ALLOCATION, SLURM_RESTART_COUNT="3")
    assert (ranks.rank(), ranks.job_id(), ranks.restarts()) == (1, "7", 3)
    enter(monkeypatch, RANK="0", TORCHELASTIC_RUN_ID="x")
    assert (ranks.rank(), ranks.inside_torchrun()) == (0, True)


def test_a_task_of_an_array_has_the_arrays_id(monkeypatch: pytest.MonkeyPatch):
    enter(monkeypatch, SLURM_JOB_ID="9", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="4")
    assert ranks.job_id() == "7_4"


def test_processes_that_start_together_know_it(monkeypatch: pytest.MonkeyPatch):
    enter(monkeypatch, TORCHELASTIC_RUN_ID="x")
    assert ranks.start_id() == "x"
    enter(monkeypatch, SLURM_JOB_ID="7")
    first = ranks.start_id()
    enter(monkeypatch, SLURM_RESTART_COUNT="1")
    assert first != ranks.start_id()


def test_a_local_run_forgets_the_allocation_but_not_where_the_scheduler_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {**ALLOCATION, "SLURM_CONF": "/etc/slurm.conf", "HOME": "/home/me"})
    assert ranks.scheduler_variables()["SLURM_NTASKS"] == "2"
    ranks.forget_allocation()
    assert os.environ == {"SLURM_CONF": "/etc/slurm.conf", "HOME": "/home/me"}


@pytest.mark.parametrize(
    ("nodes", "known", "address"),
    [
        ("node[1-2]", (), "10.0.0.1"),
        ("node[1-2]", ("node1",), None),
        ("node[01,03-04]", ("node01",), None),
        ("a,b", ("a",), None),
        ("a,b", ("b",), "10.0.0.1"),
        ("gpu-a-[7-9],gpu-b-1", ("gpu-a-7",), None),
    ],
)
def test_processes_meet_at_the_first_node_by_its_name_or_else_its_address(
    monkeypatch: pytest.MonkeyPatch, nodes: str, known: tuple[str, ...], address: str | None
):
    def look_up(name: str, port: None) -> list:
        if name not in known:
            raise socket.gaierror(f"{name}: unknown")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    enter(monkeypatch, **{**ALLOCATION, "SLURM_JOB_NODELIST": nodes}, SLURM_LAUNCH_NODE_IPADDR="10.0.0.1")
    ranks.name_main_address()
    assert os.environ.get("MASTER_ADDR") == address


@pytest.mark.parametrize("told", [{"MASTER_ADDR": "typed"}, {"SLURM_NTASKS": "1"}])
def test_who_is_alone_or_has_named_a_place_needs_none(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]):
    place = {"SLURM_JOB_NODELIST": "no-such-node[1-2]", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"}
    enter(monkeypatch, **{**ALLOCATION, **place, **told})
    ranks.name_main_address()
    assert os.environ.get("MASTER_ADDR") == told.get("MASTER_ADDR")
