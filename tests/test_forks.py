"""A fork is as good as a process: words, files, working directory, environment, exit code and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
INSTALLED = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("command", "code"),
    [("config show simulate simulator.beta=5", 0), ("data inspect nowhere", 2), ("statu", 2), ("logs no/run", 4)],
)
def test_it_says_and_ends_as_the_installed_command_does(forks: Path, tmp_path: Path, command: str, code: int) -> None:
    variables = {**os.environ, "AUTOCAST_OUTPUTS": "elsewhere", "COLUMNS": "70"}
    forked, real = (
        subprocess.run(
            [scripts / "autocast", *command.split()], cwd=tmp_path, env=variables, capture_output=True, check=False
        )
        for scripts in (forks, INSTALLED)
    )
    assert forked.returncode == code
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)


def test_a_signal_reaches_it(forks: Path, tmp_path: Path) -> None:
    words = [forks / "autocast", "data", "simulate", "--dataset", "reaction_diffusion", "splits.train=1000000"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "datasets").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM
