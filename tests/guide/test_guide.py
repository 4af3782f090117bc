"""Every command line of the users' guide runs as written, through a shell: jobs as installed, the rest in forks."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.e2e
COMMANDS = Path(__file__).with_name("commands.sh")
PROMISED = (
    "encoder_processor_decoder.ckpt",
    "encoder_processor_decoder.yaml",
    "eval/metrics.csv",
    "eval/report.html",
)


@dataclass(frozen=True)
class Command:
    text: str
    slurm: bool

    @property
    def returns_at_once(self) -> bool:
        return "--detach" in self.text


def parse(text: str) -> dict[str, list[Command]]:
    """The commands of each folder, in order."""
    folders: dict[str, list[Command]] = {}
    for section in text.split("\n#: ")[1:]:
        name, _, body = section.partition("\n")
        folder, *marks = name.split()
        for block in body.split("\n\n"):
            lines = [line for line in block.splitlines() if line and not line.startswith("#")]
            if lines:
                folders.setdefault(folder, []).append(Command("\n".join(lines), "slurm" in marks))
    return folders


FOLDERS = parse(COMMANDS.read_text())


def shell(command: str, cwd: Path, datasets: Path, forks: Path) -> subprocess.CompletedProcess[str]:
    path = f"{forks}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "AUTOCAST_DATASETS": str(datasets), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory, forks: Path) -> Path:
    """A small simulated reaction_diffusion data set."""
    folder = tmp_path_factory.mktemp("datasets")
    made = shell(
        "autocast data simulate --dataset reaction_diffusion simulator.grid_shape=[16,16] simulator.n_frames=4"
        " splits.train=2 splits.valid=1 splits.test=2",
        folder,
        folder,
        forks,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_commands_are_all_there() -> None:
    assert sum(len(commands) for commands in FOLDERS.values()) == 12


@pytest.mark.parametrize("folder", FOLDERS)
def test_guide_commands_run_as_written(
    folder: str, tmp_path: Path, datasets: Path, slurm: Cluster, forks: Path
) -> None:
    for command in FOLDERS[folder]:
        done = shell(command.text, tmp_path, datasets, forks)
        assert done.returncode == 0, f"{command.text}\n{done.stdout}\n{done.stderr}"
        if command.returns_at_once:
            jobs = slurm.jobs_below(tmp_path)
            assert len(jobs) == 2
            assert [slurm.wait_for(job, timeout=300)["JobState"] for job in jobs] == ["COMPLETED"] * 2
    run = tmp_path / "outputs" / "rd" / "00"
    for name in PROMISED if folder.startswith("train-and-evaluate") else ():
        assert (run / name).stat().st_size > 0, name
