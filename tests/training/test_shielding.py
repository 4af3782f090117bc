"""Slurm sends its signals to every process of a job: those that we start must outlive them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from autocast.data.loader import BatchLoader
from autocast.data.sampler import EpochSampler
from autocast.evaluation import movies
from autocast.types import Batch

pytestmark = pytest.mark.e2e

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)

TRACKED = """
import signal, sys
from pathlib import Path
from lightning.pytorch.loggers import WandbLogger
from autocast.training.media import finish_trackers, log_record, start_trackers
logger = WandbLogger(mode="offline", id="abc", save_dir=sys.argv[1])
start_trackers([logger], {"seed": 42})
print("ready", flush=True)
sys.stdin.readline()
for step in (1, 2):
    log_record([logger], {"train/loss": 0.5}, step=step)
finish_trackers([logger], failed=False)
print("finished", flush=True)
"""


def children(pid: int) -> list[int]:
    """Processes started by another one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def scheduler_signals(*pids: int, signals: tuple[signal.Signals, ...] = SIGNALS) -> None:
    """From a process that is neither theirs nor their parent, as Slurm's."""
    for number in signals:
        for pid in pids:  # one may be over by now
            subprocess.run(["/bin/kill", f"-{number.value}", str(pid)], check=False, capture_output=True)


@pytest.fixture
def tracked(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose tracker has a service."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", TRACKED, tmp_path], **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        assert children(process.pid)
        yield process


def test_the_service_of_a_tracker_keeps_its_records_at_a_time_limit(tracked, tmp_path, read_wandb):
    scheduler_signals(*children(tracked.pid), signals=(signal.SIGUSR2,))
    assert tracked.communicate("\n", timeout=120)[0] == "finished\n"
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    _, config, history = read_wandb(file)
    assert config["seed"] == 42
    assert [record["train/loss"] for record in history] == [0.5, 0.5]


def test_a_service_that_is_terminated_fails_nothing(tracked):
    """It takes SIGTERM whatever was blocked before; the records of its last seconds are lost."""
    scheduler_signals(*children(tracked.pid), signals=(signal.SIGTERM,))
    said, errors = tracked.communicate("\n", timeout=120)
    assert (said, tracked.returncode) == ("finished\n", 0)
    assert "no longer listens" in errors


class Film:
    """Its encoder gets the signals when half of it is drawn."""

    n_frames = 6

    def frame(self, index: int) -> np.ndarray:
        if index == 3:
            scheduler_signals(*children(os.getpid()))
        return np.full((32, 48, 3), 20 * index, np.uint8)


@pytest.mark.skipif(movies.find_ffmpeg() is None, reason="no ffmpeg")
def test_a_film_that_was_begun_is_finished(tmp_path):
    assert movies.write_film(Film(), tmp_path / "film.mp4").suffix == ".mp4"


class Numbers(torch.utils.data.Dataset[Batch]):
    def __getitem__(self, rows):
        return Batch(torch.tensor(rows), torch.tensor(os.getpid()))


def test_workers_go_on_reading_and_end_with_their_parent():
    loader = BatchLoader.over(Numbers(), EpochSampler(60, batch_size=2, shuffle=False), n_workers=2)
    iterator = iter(loader)
    workers = {int(next(iterator).output_fields) for _ in range(4)}
    scheduler_signals(*workers)
    rest = list(iterator)
    assert {int(batch.output_fields) for batch in rest} == workers
    assert [int(i) for batch in rest for i in batch.input_fields] == list(range(8, 60))
    for worker in workers:
        os.kill(worker, 0)
    del iterator, loader
    deadline = time.monotonic() + 60
    while workers & set(children(os.getpid())):
        assert time.monotonic() < deadline, "workers outlived their loader"
        time.sleep(0.01)
