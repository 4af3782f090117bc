"""What tests of commands on a cluster start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.workplace import Workplace


@pytest.fixture(scope="session")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from autocast.runs.request import Request
    from autocast.runs.using import simulate

    path = tmp_path_factory.mktemp("datasets") / "waves"
    words = ("simulator=reaction_diffusion", "simulator.grid_shape=[8,12]", "simulator.n_frames=9")
    assert simulate(Request("simulate", (*words, "splits={train: 4, valid: 2, test: 2}"), dataset=str(path))) == 0
    return path


@pytest.fixture
def place(slurm: Cluster, tmp_path: Path, waves: Path) -> Workplace:
    return Workplace(tmp_path, waves)
