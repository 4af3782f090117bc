"""Real SLURM clusters as fixtures: started at first use, shared by the test processes, ended with the test run."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm import cluster as cluster_module
from tests.slurm.cluster import Cluster, missing_commands

CLUSTERS = pytest.StashKey[Path]()
RUN = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """One place for the clusters of a test run; the process that began the run ends them, also after Ctrl-C."""
    shared: dict[str, Any] | None = getattr(config, "workerinput", None)
    if shared is not None:
        config.stash[CLUSTERS], config.stash[RUN] = Path(shared["clusters"]), shared["run"]
        return
    config.stash[CLUSTERS] = Path(tempfile.gettempdir()) / f"slurm-{secrets.token_hex(4)}"  # sockets want a short path
    config.stash[RUN] = os.getpid()
    config.add_cleanup(lambda: _stop_all(config.stash[CLUSTERS]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A hook of xdist: what its test processes are told."""
    node.workerinput["clusters"], node.workerinput["run"] = str(node.config.stash[CLUSTERS]), node.config.stash[RUN]


@pytest.fixture(scope="session")
def slurm_cluster(pytestconfig: pytest.Config) -> Cluster:
    """A cluster without accounting, for fixtures of a wider scope than a test."""
    return _shared(pytestconfig, "plain")


@pytest.fixture(scope="session")
def slurm_accounting_cluster(pytestconfig: pytest.Config) -> Cluster:
    """A cluster where `sacct` answers."""
    return _shared(pytestconfig, "accounting", accounting=True)


@pytest.fixture(scope="session")
def forgetful_slurm_cluster(pytestconfig: pytest.Config) -> Cluster:
    """A cluster without accounting that forgets a job seconds after its end."""
    return _shared(pytestconfig, "forgetful", min_job_age=2)


@pytest.fixture
def slurm(slurm_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """The environment of the test names a cluster without accounting; the test's own jobs end with it."""
    yield from _entered(slurm_cluster, monkeypatch, tmp_path)


@pytest.fixture
def slurm_accounting(
    slurm_accounting_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Cluster]:
    yield from _entered(slurm_accounting_cluster, monkeypatch, tmp_path)


@pytest.fixture
def forgetful_slurm(
    forgetful_slurm_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Cluster]:
    yield from _entered(forgetful_slurm_cluster, monkeypatch, tmp_path)


def _shared(config: pytest.Config, name: str, *, accounting: bool = False, min_job_age: int = 300) -> Cluster:
    """The run's cluster of this name, started by the first test process that asks for it."""
    if missing := missing_commands(accounting=accounting):
        pytest.skip(f"no {', '.join(missing)}: SLURM is not installed")
    clusters = config.stash[CLUSTERS]
    clusters.mkdir(exist_ok=True)
    cluster = Cluster(clusters / name)
    with (clusters / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (clusters / f"{name}.started").exists():
            cluster.start(accounting=accounting, min_job_age=min_job_age)
            (clusters / f"{name}.started").touch()
            _stop_after(config.stash[RUN], cluster)
    return cluster


def _entered(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[Cluster]:
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    monkeypatch.setenv("PATH", cluster.env["PATH"])
    yield cluster
    cluster.cancel(*cluster.jobs_below(directory))


def _stop_after(pid: int, cluster: Cluster) -> None:
    """For a test run that is killed: someone must still end the daemons."""
    command = [sys.executable, cluster_module.__file__, "stop", str(cluster.directory), "--after", str(pid)]
    nowhere = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def _stop_all(clusters: Path) -> None:
    for conf in clusters.glob("*/slurm.conf"):
        Cluster(conf.parent).stop()
    shutil.rmtree(clusters, ignore_errors=True)
