"""Trainings that are killed from outside at any moment end as those that were left alone, to the last bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from autocast.training.checkpoints import AtomicCheckpointIO

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("ranks.py")
STATES = {
    "state_dict",
    "current_model_state",
    "averaging_state",
    "optimizer_states",
    "adversaries",
    "lr_schedulers",
    "loops",
}
SEED, N_BATCHES = 3, 18


class Trainings:
    """Of one model in one directory, each in a process group of its own."""

    def __init__(self, ranks: ModuleType, name: str, data: Path, run_dir: Path, **options: Any):
        self.ranks, self.name, self.data, self.run_dir, self.options = ranks, name, data, run_dir, options

    def to_the_end(self) -> None:
        assert self._wait(self._start()) == 0

    def killed(self, when: Callable[[], bool]) -> None:
        pid = self._start()
        while not when():
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended before it could be killed"
            time.sleep(0.002)
        for group in self._groups(pid):
            os.killpg(group, signal.SIGKILL)
        assert self._wait(pid) == -signal.SIGKILL

    def _start(self) -> int:
        self.told.unlink(missing_ok=True)
        pid = os.fork()
        if pid:
            while os.getpgid(pid) != pid:  # until it has a group of its own
                time.sleep(0.001)
            return pid
        status = 1
        try:
            os.setsid()
            self.ranks.go_on(self.name, self.data, self.run_dir, self.told, n_ranks=1, **self.options)
            status = 0
        finally:
            os._exit(status)

    @staticmethod
    def _groups(pid: int) -> list[int]:
        return [pid]

    @property
    def told(self) -> Path:
        return self.run_dir.with_suffix(".told")

    @property
    def n_batches(self) -> int:
        """That the process has trained."""
        return int(self.told.read_text() or 0) if self.told.is_file() else 0

    def saves(self) -> bool:
        """Whether a checkpoint is being written, not the first one."""
        directory = self.run_dir / "epd/checkpoints"
        return self.n_batches > 1 and (directory / ".last.ckpt.partial").exists()

    @staticmethod
    def _wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class TwoRanks(Trainings):
    """Of torchrun, which gives each process a group of its own."""

    verb = "go-on"

    def _start(self) -> int:
        self.told.unlink(missing_ok=True)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        words = [self.verb, self.name, self.data, self.run_dir, self.told]
        command = [*torchrun, PROGRAM, *words]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)  # kept: it reaps
        return self._process.pid

    @staticmethod
    def _groups(pid: int) -> list[int]:
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()), pid]


class TwoShards(TwoRanks):
    """Checkpoints are directories."""

    verb = "go-on-in-parts"


def logged(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "epd/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def tracked(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves as TensorBoard draws them."""
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    names = events.Tags()["scalars"]
    assert {"train/loss", "val/objective", "lr"} <= set(names)
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def assert_same(toy: Any, run_dir: Path, undisturbed: Path) -> None:
    files = (run / "epd/checkpoints/last.ckpt" for run in (run_dir, undisturbed))
    a, b = (AtomicCheckpointIO().load_checkpoint(file, weights_only=True) for file in files)
    assert a.keys() == b.keys()
    for key in STATES & a.keys():
        assert toy.states_are_equal(a[key], b[key]), key
    assert (a["epoch"], a["global_step"]) == (b["epoch"], b["global_step"])
    assert tracked(run_dir) == tracked(undisturbed)
    assert logged(run_dir) == logged(undisturbed)
    rows = (run_dir / "epd/metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + len(logged(undisturbed))


CASES = [
    pytest.param(name, workers, accumulate, marks=() if (name, workers, accumulate) in FAST else pytest.mark.slow)
    for FAST in [{("gan", 0, 1), ("flow_matching", 2, 2)}]
    for name in ("ae", "gan", "direct", "ensemble", "flow_matching")
    for workers in (0, 2)
    for accumulate in (1, 2)
]


@pytest.mark.parametrize(("name", "workers", "accumulate"), CASES)
def test_kills_leave_no_trace(toy, ranks, data, tmp_path, name, workers, accumulate):
    options = {"n_workers": workers, "accumulate": accumulate}
    whole, run = (Trainings(ranks, name, data, tmp_path / place, **options) for place in ("whole", "killed"))
    kill_thrice(toy, whole, run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["direct", "flow_matching"])
def test_kills_of_two_ranks_leave_no_trace(toy, ranks, data, tmp_path, name):
    kill_thrice(toy, *(TwoRanks(ranks, name, data, tmp_path / place) for place in ("whole", "killed")))


@pytest.mark.slow
def test_kills_of_two_shards_leave_no_trace(toy, ranks, data, tmp_path):
    kill_thrice(toy, *(TwoShards(ranks, "ensemble", data, tmp_path / place) for place in ("whole", "killed")))


def kill_thrice(toy: Any, whole: Trainings, run: Trainings) -> None:
    """In the middle of an epoch, while a checkpoint is written, and some steps later."""
    whole.to_the_end()
    assert whole.n_batches == N_BATCHES
    draws = random.Random(SEED)
    first, last = draws.choice([2, 3, 4]), draws.randrange(2, 5)
    run.killed(lambda: run.n_batches >= first)
    run.killed(run.saves)
    run.killed(lambda: run.n_batches >= last)
    run.to_the_end()
    assert run.n_batches < N_BATCHES
    assert_same(toy, run.run_dir, whole.run_dir)
    assert not list(run.run_dir.rglob("*.partial"))
