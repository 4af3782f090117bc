"""What the shell offers: names from directories, without importing anything heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "lightning", "hydra", "omegaconf", "numpy", "h5py", "pandas")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with two data sets, two runs and a preset of the user's own."""
    for name in ("waves", "winds"):
        (tmp_path / "datasets" / name).mkdir(parents=True)
    for name, kind in (("rd/00", "encoder_processor_decoder"), ("rd/01", "autoencoder")):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / f"{kind}.yaml").touch()
    (tmp_path / "mine" / "preset").mkdir(parents=True)
    (tmp_path / "mine" / "preset" / "own.yaml").touch()
    return tmp_path


def offered(line: str, place: Path, *python: str) -> subprocess.CompletedProcess[str]:
    """What bash is told after Tab at the end of `line`."""
    unset = ("AUTOCAST_DATASETS", "AUTOCAST_OUTPUTS", "AUTOCAST_CONFIG_PATH")
    known = {name: value for name, value in os.environ.items() if name not in unset}
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_AUTOCAST_COMPLETE": "complete_bash"}
    command = [
        sys.executable,
        *python,
        "-c",
        "import sys; sys.argv[0] = 'autocast'; from autocast.cli.main import main; main()",
    ]
    return subprocess.run(
        command, cwd=place, env={**known, **words}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("autocast epd --dataset w", ["waves", "winds"]),
        ("autocast epd --dataset gray", ["gray_scott"]),
        ("autocast ae --resume-from rd", ["rd/00", "rd/01"]),
        ("autocast epd --autoencoder rd/01", ["rd/01"]),
        ("autocast eval --workdir out", ["outputs/rd/00", "outputs/rd/01"]),
        ("autocast epd --preset cr", ["crps"]),
        ("autocast epd --config-dir mine --preset o", ["own"]),
        ("autocast epd --cluster single", ["single_gpu"]),
        ("autocast eval --after rd/01", ["rd/01"]),
        ("autocast eval --explain vrmse", ["vrmse", "vrmse@lola", "vrmse@well"]),
        ("autocast forecast rd/0", ["rd/00", "rd/01"]),
        ("autocast forecast rd/00 --from wi", ["winds"]),
        ("autocast status rd/00 rd/0", ["rd/00", "rd/01"]),
        ("autocast logs rd/0", ["rd/00", "rd/01"]),
        ("autocast why rd/0", ["rd/00", "rd/01"]),
        ("autocast sync rd/0", ["rd/00", "rd/01"]),
        ("autocast data inspect wa", ["waves"]),
        ("autocast data simulate --dataset adv", ["advection_diffusion"]),
    ],
)
def test_names_are_offered(line: str, names: list[str], place: Path):
    assert offered(line, place).stdout.split() == names


def test_nothing_heavy_is_imported(place: Path):
    done = offered("autocast epd --dataset w", place, "-X", "importtime")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "waves" in done.stdout
    assert imported & set(HEAVY) == set()
