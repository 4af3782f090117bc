"""Runs on this machine that are not in this process: detached children, and several processes through torchrun."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from autocast.runs import ranks
from autocast.runs.console import Screen
from autocast.runs.directory import TRAIN, RunDirectory, read_config
from autocast.runs.events import append_event, process_identity
from autocast.runs.execution import kind_of
from autocast.runs.exits import DONE, FAILED, INTERRUPTED
from autocast.runs.job import AND
from autocast.runs.provenance import gpu_names
from autocast.runs.ranks import count_devices
from autocast.runs.watch.journal import ATTEMPT_ENDS

NODE = "autocast.runs.node"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--no-python")


def n_processes(config_file: Path) -> int:
    """How many processes a training wants on this machine: one for each of its devices."""
    trainer = read_config(config_file)["trainer"]
    told = count_devices(trainer["devices"])
    if told is not None:
        return told
    return 1 if trainer["accelerator"] == "cpu" else _n_visible()


def needs_torchrun(workflow: str, run_dir: str, stage: str) -> bool:
    """Whether a stage wants several processes here, and this is not one of them yet."""
    if ranks.inside_torchrun() or ranks.job_id() is not None or stage != TRAIN:
        return False
    directory = RunDirectory(Path(run_dir))
    return n_processes(directory.config_file(kind_of(workflow, directory, stage))) > 1


def run_with_torchrun(workflow: str, run_dir: str, stage: str, *, stdout: TextIO | None = None) -> int:
    """Runs a training in one process per device and waits for it.

    Ctrl-C and TERM reach the training's processes, not torchrun, which would kill them after 30 seconds; a second
    Ctrl-C kills them all.

    Returns:
        The exit code that its journal tells: torchrun knows only 0 and 1.
    """
    directory = RunDirectory(Path(run_dir))
    kind = kind_of(workflow, directory, stage)
    n_events = len(directory.events(kind, stage))
    n = n_processes(directory.config_file(kind, stage))
    words = [sys.executable, *TORCHRUN, f"--nproc-per-node={n}", *_node(workflow, run_dir, stage)]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n)), **os.environ}
    process = subprocess.Popen(words, env=environment, stdout=stdout, start_new_session=True)
    with _Forwarded(process) as forwarded:
        process.wait()
    ended = [event for event in directory.events(kind, stage)[n_events:] if event["event"] in ATTEMPT_ENDS]
    if ended:
        return DONE if ended[0]["event"] == "finished" else ended[0]["code"]
    if not forwarded.interrupted:
        return FAILED
    append_event(directory.events_file(kind, stage), "interrupted", code=INTERRUPTED)
    Screen().error(f"interrupted. Go on with: autocast {kind} --resume-from {directory.quoted}")
    return INTERRUPTED


def detach(workflow: str, directory: RunDirectory, kind: str, stage: str) -> tuple[int, Path]:
    """Starts stages in a child that outlives this shell; its output goes to a file.

    Args:
        kind: Of the first stage.
        stage: One, or several joined by `+`.

    Returns:
        The child's process id and its log file.
    """
    folder = directory.logs_dir(kind)
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + len(list(folder.glob("local-*_0_log.out")))
    log = folder / f"local-{number}_0_log.out"
    with log.open("x") as out, log.with_suffix(".err").open("x") as err:
        child = subprocess.Popen(
            _node(workflow, str(directory.path.absolute()), stage),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    for name in stage.split(AND):
        append_event(directory.events_file(kind, name), "detached", log=str(log), **process_identity(child.pid))
    return child.pid, log


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still live."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


class _Forwarded:
    """While entered, Ctrl-C and TERM go to the processes that torchrun has started."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process
        self.interrupted = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Forwarded:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _forward(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        workers = children(self.process.pid)
        if not workers or (self.interrupted and number == signal.SIGINT):
            self._kill(workers)
        else:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM if number == signal.SIGHUP else number)
        self.interrupted |= number == signal.SIGINT

    def _kill(self, workers: Sequence[int]) -> None:
        """Torchrun first, which starts no others then; each of its processes leads a group of its own."""
        for leader in (self.process.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)


def _node(workflow: str, run_dir: str, stage: str) -> list[str]:
    return [sys.executable, "-u", "-m", NODE, workflow, run_dir, stage]


def _n_visible() -> int:
    """GPUs that this process may use; 1 where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return max(1, len(gpu_names() if visible is None else [part for part in visible.split(",") if part.strip()]))
