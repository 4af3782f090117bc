"""Ctrl-C in a real training, and what follows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autocast.runs.launch import run
from autocast.runs.request import Request
from autocast.runs.using import simulate

pytestmark = pytest.mark.e2e

SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=6", "splits={train: 4, valid: 2, test: 2}")
WORDS = ("datamodule.batch_size=8", "trainer.max_epochs=30", "checkpoint.every_n_epochs=10")
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts jobs in the background ignores it
from autocast.cli.main import main
main()
"""


def wait_for_epochs(n: int, metrics: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < n:
        assert process.poll() is None, "the training ended before it could be interrupted"
        assert time.monotonic() < deadline, "the training never got that far"
        time.sleep(0.05)


def test_an_interrupted_training_says_how_to_go_on_and_does(tmp_path: Path):
    data, directory = tmp_path / "reaction_diffusion", tmp_path / "run"
    assert simulate(Request("simulate", SIMULATION, dataset=str(data))) == 0
    command = [sys.executable, "-c", PROGRAM, "ae", "--dataset", str(data), "--workdir", str(directory), *WORDS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = directory / "ae/metrics.jsonl"
    wait_for_epochs(2, metrics, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"interrupted. Go on with: autocast ae --resume-from {directory}" in said
    assert "Traceback" not in said
    record = directory / ".autocast/ae/train"
    assert json.loads((record / "events.jsonl").read_text().splitlines()[-1])["event"] == "interrupted"
    assert not (record / "DONE.json").exists()
    assert run(Request("ae", resume_from=str(directory))) == 0
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == list(range(1, 31))
    assert (record / "DONE.json").is_file()
