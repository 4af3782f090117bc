"""The contract of a job, kept on this machine: detached children, several processes, inside an allocation."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.runs import local
from autocast.runs.directory import RunDirectory
from autocast.runs.events import is_alive, process_start
from autocast.runs.exits import INTERRUPTED
from autocast.runs.launch import run
from autocast.runs.request import LOCAL, Request
from autocast.runs.resume import resume
from autocast.runs.watch.journal import ATTEMPT_ENDS, BIRTHS, CLOSING
from autocast.runs.watch.stages import stages_of
from autocast.runs.watch.status import statuses

pytestmark = pytest.mark.e2e

SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=6", "splits={train: 4, valid: 2, test: 2}")
TINY_AE = ("datamodule.batch_size=8",)
TINY_EPD = (*TINY_AE, "model.processor.backbone.width=8", "model.processor.backbone.levels=1")
TINY_EVAL = ("eval.video=false", "eval.n_members=2", "eval.baselines=[]")
TWO = ("trainer.devices=2", "trainer.accelerator=cpu")
FOR_EVER = "trainer.max_epochs=100000"
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts jobs in the background ignores it
from autocast.cli.main import main
main()
"""
ALLOCATION = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOBID": "7",
    "SLURM_JOB_NODELIST": "no-such-node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_RESTART_COUNT": "3",
}
PATIENCE = 120


@pytest.fixture(scope="module")
def dataset(simulated: Callable[..., Path]) -> Path:
    return simulated(*SIMULATION)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(dataset: Path, here: Path) -> Iterator[Start]:
    """`start(command, *words)`: the command line in a session of its own, which is over with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(command: str, *words: str, to: Path = here / "run", **variables: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-c", PROGRAM, command, "--dataset", str(dataset), "--workdir", str(to), *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(line, env={**os.environ, **variables}, start_new_session=True, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def epochs(directory: RunDirectory, kind: str) -> list[int]:
    file = directory.metrics_file(kind)
    return [json.loads(line)["epoch"] for line in file.read_text().splitlines()] if file.is_file() else []


def words_of(directory: RunDirectory, kind: str, stage: str = "train") -> list[str]:
    """The journal, as far as every stage has it."""
    words = [event["event"] for event in directory.events(kind, stage)]
    return [word for word in words if word in (*BIRTHS, *CLOSING, *ATTEMPT_ENDS, "detached", "started", "resumed")]


def states(directory: RunDirectory) -> list[str]:
    return [status.state for status in statuses(stages_of(directory))]


def autocast(*words: str) -> str:
    found = subprocess.run([sys.executable, "-m", "autocast", *words], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_detached_training_survives_its_shell_and_is_cancelled_and_resumed(dataset: Path, here: Path):
    directory = RunDirectory(here / "run")
    words = ["epd", "--detach", "--dataset", str(dataset), "--workdir", "run", *TINY_EPD, FOR_EVER]
    line = f"{shlex.join([sys.executable, '-m', 'autocast', *words])} && sleep 600"
    with subprocess.Popen(["bash", "-c", line], stdout=subprocess.PIPE, text=True, start_new_session=True) as shell:
        assert shell.stdout is not None
        said = "".join(iter(shell.stdout.readline, "  stop      autocast cancel run\n"))
        os.killpg(shell.pid, signal.SIGKILL)
    assert said.startswith("started  run\n  stages    epd train\n  process ")
    assert states(directory) == ["running"]
    wait_until(lambda: len(epochs(directory, "epd")) > 1, "its second epoch")
    assert "running" in autocast("status", "run")
    assert "epoch 2/100000" in (directory.logs_dir("epd") / "local-1_0_log.out").read_text()

    assert "cancelled  " in autocast("cancel", "run")
    wait_until(lambda: states(directory) == ["cancelled"], "its end")
    (started,) = [event for event in directory.events("epd", "train") if event["event"] == "started"]
    assert not is_alive(started)
    assert sorted(words_of(directory, "epd")) == ["cancelled", "detached", "launched", "started", "stopped"]
    assert directory.last_checkpoint("epd") is not None
    saved = next(e["step"] for e in directory.events("epd", "train") if e["event"] == "stopped")

    longer = f"trainer.max_epochs={epochs(directory, 'epd')[-1] + 2}"
    assert resume("run", Request("resume", (longer,))) == 0
    assert states(directory) == ["done"]
    done = epochs(directory, "epd")
    assert done == list(range(1, len(done) + 1)), "no epoch is missing, none is there twice"
    resumed = [event for event in directory.events("epd", "train") if event["event"] == "resumed"]
    assert [event["step"] for event in resumed] == [saved]
    assert words_of(directory, "epd")[-4:] == ["launched", "started", "resumed", "finished"]


def test_one_detached_child_runs_both_stages(start: Start, here: Path):
    directory = RunDirectory(here / "run")
    words = (*TINY_EPD, "trainer.max_epochs=2", "::eval::", *TINY_EVAL)
    said, error = start("train-eval", "--detach", "--json", *words).communicate()
    (training, evaluation) = json.loads(said)["stages"]
    assert training["state"] == evaluation["state"] == "detached", error
    assert training["pid"] == evaluation["pid"]
    assert states(directory) == ["running", "waiting"]
    wait_until(lambda: states(directory) == ["done", "done"], "the end of both stages")
    for stage in ("train", "eval"):
        assert words_of(directory, "epd", stage) == ["launched", "detached", "started", "finished"]
        (begun,) = [event for event in directory.events("epd", stage) if event["event"] == "started"]
        assert (begun["pid"], begun["job_id"]) == (training["pid"], None)
    log = (directory.logs_dir("epd") / "local-1_0_log.out").read_text()
    assert log.index("=== autocast epd train attempt 1 job local") < log.index("=== autocast epd eval attempt 1 job")
    assert (directory.eval_dir() / "metrics.csv").is_file()


def test_two_processes_train_as_one_does_also_inside_an_allocation(start: Start, dataset: Path, here: Path):
    """The allocation is not asked: it would give this process rank 1 and a partner on a node that is not there."""
    words = (*TINY_AE, "trainer.max_epochs=3")
    process = start("ae", "--json", *TWO, *words, to=here / "two", **ALLOCATION)
    assert run(Request("ae", words, dataset=str(dataset), workdir=here / "one")) == 0
    said, error = process.communicate()
    document = json.loads(said)
    assert document["state"] == "done", error
    assert "epoch 3/3" in error
    one, two = RunDirectory(here / "one"), RunDirectory(here / "two")
    assert document["products"] == ["autoencoder.ckpt", "ae/latent_statistics.json"]
    assert words_of(one, "ae") == words_of(two, "ae") == ["launched", "started", "finished"]
    (started,) = [event for event in two.events("ae", "train") if event["event"] == "started"]
    assert (started["job_id"], started["restarts"], started["scheduler"]) == (None, 0, {})
    assert two.run_record("ae", "train")["mode"] == LOCAL
    curves = [[json.loads(line) for line in each.metrics_file("ae").read_text().splitlines()] for each in (one, two)]
    for row, other in zip(*curves, strict=True):
        assert other["step"] == row["step"]
        assert [other[key] for key in ("train/loss", "val/objective")] == pytest.approx(
            [row[key] for key in ("train/loss", "val/objective")], rel=1e-4
        )


def test_ctrl_c_reaches_every_process_and_all_go_on_together(start: Start, dataset: Path, here: Path):
    directory = RunDirectory(here / "run")
    process = start("ae", *TWO, *TINY_AE, FOR_EVER)
    wait_until(lambda: len(epochs(directory, "ae")) > 1 or process.poll() is not None, "its second epoch")
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == INTERRUPTED, said + error
    assert "Go on with: autocast ae --resume-from" in error
    assert "Traceback" not in error
    assert words_of(directory, "ae") == ["launched", "started", "interrupted"]
    headers = [line for line in said.splitlines() if line.startswith("=== autocast")]
    assert [" ".join(line.split()[2:8]) for line in sorted(headers)] == ["ae train attempt 1 job local" for _ in (0, 1)]
    longer = f"trainer.max_epochs={epochs(directory, 'ae')[-1] + 2}"
    assert run(Request("ae", (longer,), resume_from=str(directory.path))) == 0
    done = epochs(directory, "ae")
    assert done == list(range(1, len(done) + 1)), "no epoch is missing, none is there twice"
    assert words_of(directory, "ae")[-4:] == ["launched", "started", "resumed", "finished"]
    assert directory.done_file("ae", "train").is_file()


WORKER = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path({file!r}).write_text(str(os.getpid()))
time.sleep(600)
"""
TORCHRUN = """
import subprocess, sys
subprocess.run([sys.executable, "-c", {worker!r}], start_new_session=True)
"""


@pytest.mark.parametrize(("worker", "n_signals"), [(True, 2), (False, 1)])
def test_one_more_ctrl_c_or_one_before_there_is_anything_to_save_kills(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worker: bool, n_signals: int
):
    """What torchrun starts leads a process group of its own, and would live on alone."""
    directory, file = RunDirectory(here / "run"), here / "pid"
    directory.record_dir("ae", "train").mkdir(parents=True)
    directory.run_file("ae", "train").write_text("{}")
    directory.config_file("ae").write_text(yaml.safe_dump({"trainer": {"devices": 2}}))
    alone = WORKER.format(file=str(file))
    program = TORCHRUN.format(worker=alone) if worker else alone.replace("SIG_IGN", "default_int_handler")
    monkeypatch.setattr(local, "TORCHRUN", ("-c", program))

    def press() -> None:
        wait_until(lambda: file.is_file() and file.read_text(), "the process")
        for _ in range(n_signals):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    keys = threading.Thread(target=press)
    keys.start()
    assert local.run_with_torchrun("train_autoencoder", str(directory.path), "train") == INTERRUPTED
    keys.join()
    assert words_of(directory, "ae") == ["interrupted"]
    assert "Go on with: autocast ae --resume-from" in capsys.readouterr().err
    wait_until(lambda: process_start(int(file.read_text())) is None, "the end of what it started")
