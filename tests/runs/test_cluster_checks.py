"""Where files lie, seen from the nodes of a cluster."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from autocast.runs import cluster_checks
from autocast.runs.cluster_checks import cluster_problems, file_system
from autocast.runs.problems import Problem
from autocast.runs.request import SLURM, Request
from autocast.runs.slurm.checks import Checks
from autocast.runs.slurm.commands import UnreachableError

REQUEST = Request("epd", workdir=Path("/scratch/rd/00"), mode=SLURM)
MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local xfs rw 0 0
lustre /scratch lustre rw 0 0
lustre /scratch2 beegfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/lib", "ext4"),
        ("/tmp/a/b", "tmpfs"),
        ("/home/me/outputs", "nfs4"),
        ("/home/local/me", "xfs"),
        ("/scratch", "lustre"),
        ("/scratch2/me", "beegfs"),
        ("/scratch3", "ext4"),
    ],
)
def test_the_innermost_mount_counts_whether_or_not_the_path_exists(tmp_path: Path, path: str, kind: str):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system(Path(path), mounts) == kind


def test_where_mounts_are_not_told_nothing_is_known(tmp_path: Path):
    assert file_system(Path("/home/me"), tmp_path / "none") == ""


def on(monkeypatch: pytest.MonkeyPatch, *, run: str, python: str = "nfs4", hosts: tuple[str, ...] = ("node1",)) -> None:
    """A cluster with these machines, and the file systems of the run directory and of python."""
    kinds = {Path(sys.prefix): python, Path("/scratch/rd/00"): run}
    monkeypatch.setattr(cluster_checks, "check", lambda sections: Checks(hosts=set(hosts)))
    monkeypatch.setattr(cluster_checks, "file_system", kinds.__getitem__)


def test_a_shared_file_system_needs_no_word(monkeypatch: pytest.MonkeyPatch):
    on(monkeypatch, run="lustre")
    assert cluster_problems([{}], REQUEST) == ([], [], [])


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_what_lies_in_memory_no_node_can_see(monkeypatch: pytest.MonkeyPatch, kind: str):
    on(monkeypatch, run=kind)
    (problem,), notes, _ = cluster_problems([{}], REQUEST)
    assert problem.subject == "/scratch/rd/00"
    assert f"file system of this machine ({kind}): no node can see it" in problem.message
    assert notes == []


def test_a_local_disk_may_be_shared_under_another_name(monkeypatch: pytest.MonkeyPatch):
    on(monkeypatch, run="ext4", python="overlay")
    problems, notes, _ = cluster_problems([{}], REQUEST)
    assert problems == []
    assert [note.partition(",")[0] for note in notes] == ["the run directory", "python"]
    assert all("the nodes must see it under the same path" in note for note in notes)


def test_where_this_machine_is_the_cluster_it_sees_everything(monkeypatch: pytest.MonkeyPatch):
    on(monkeypatch, run="tmpfs", hosts=(socket.gethostname(), "localhost"))
    assert cluster_problems([{}], REQUEST) == ([], [], [])


def test_what_the_scheduler_refuses_is_told_too(monkeypatch: pytest.MonkeyPatch):
    on(monkeypatch, run="tmpfs")
    refused = Problem("cluster.time=5", "too long")
    monkeypatch.setattr(cluster_checks, "check", lambda sections: Checks([refused], ["busy"], ["sbatch"], [], {"n1"}))
    problems, notes, unchecked = cluster_problems([{}], REQUEST)
    assert problems[0] == refused
    assert len(problems) == 2
    assert (notes, unchecked) == (["busy"], ["sbatch"])


def test_a_rehearsal_does_without_a_scheduler(monkeypatch: pytest.MonkeyPatch):
    def silent(sections: object) -> Checks:
        raise UnreachableError("no answer")

    monkeypatch.setattr(cluster_checks, "check", silent)
    with pytest.raises(UnreachableError):
        cluster_problems([{}], REQUEST)
    rehearsal = Request("epd", workdir=Path("/scratch/rd/00"), mode=SLURM, dry_run=True)
    assert cluster_problems([{}], rehearsal) == ([], [], ["the cluster: no answer"])
