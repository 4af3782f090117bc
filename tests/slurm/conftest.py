"""What tests of commands on a cluster start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forks import serve
from tests.slurm.cluster import Cluster
from tests.slurm.workplace import TARGETS, Workplace


@pytest.fixture(scope="session")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from autocast.runs.request import Request
    from autocast.runs.using import simulate

    path = tmp_path_factory.mktemp("datasets") / "waves"
    words = ("simulator=reaction_diffusion", "simulator.grid_shape=[8,12]", "simulator.n_frames=9")
    assert simulate(Request("simulate", (*words, "splits={train: 4, valid: 2, test: 2}"), dataset=str(path))) == 0
    return path


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """Commands that are typed run in forks, those that submit jobs too; jobs are processes of their own."""
    with serve(own_processes=(), PYTHONPATH=TARGETS) as folder:
        yield folder


@pytest.fixture
def place(slurm: Cluster, tmp_path: Path, waves: Path, commands: Path) -> Workplace:
    return Workplace(tmp_path, waves, commands)
