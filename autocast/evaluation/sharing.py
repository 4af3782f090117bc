"""An evaluation on several devices: each has a share of the trajectories and a process, and parts come together.

Shares are cut into the batches that one device would have, so that scores are the same to the last byte wherever a
batch is rolled out alike.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from autocast.errors import AutocastError, ConfigError
from autocast.evaluation.calibration import Fitted
from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.parts import Parts
from autocast.evaluation.plan import EvaluationData, Plan, make_plan
from autocast.evaluation.rollout_modes import in_rollout_mode
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.work import Work
from autocast.simulators.simulator import Simulator

POLL_SECONDS = 0.2
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Sent to all processes of a job; the first one stops the others."""

Opening = Callable[[], tuple[Forecasts, EvaluationData]]
"""The model in evaluation mode, on the CPU, and the data; can be sent to another process."""


class ShareError(AutocastError):
    """A process with a share of the trajectories has failed."""


@dataclass(frozen=True)
class Sharing:
    """Devices besides the first one, and how their processes get what they evaluate."""

    opening: Opening
    devices: tuple[str, ...]


@dataclass(frozen=True)
class _Share:
    """What a process is given."""

    opening: Opening
    device: str
    settings: EvaluationSettings
    """As the user has them, but for what was measured."""
    groups: list[list[int]]
    parts: Parts
    n_threads: int
    simulators: Mapping[str, Simulator]
    split: str
    fitted: Fitted | None
    """A calibration."""


def other_devices(n: int, first: str) -> tuple[str, ...]:
    """The devices besides the first one of `n`.

    Raises:
        ConfigError: There are not so many GPUs.
    """
    if torch.device(first).type != "cuda":
        return (first,) * (n - 1)
    if n > torch.cuda.device_count():
        raise ConfigError(f"eval.devices={n}: there are {torch.cuda.device_count()} GPUs.")
    return tuple(f"cuda:{k}" for k in range(1, n))


def share_out(work: Work, groups: Sequence[list[int]], parts: Parts, sharing: Sharing) -> None:
    """Rolls all groups of trajectories out, on this device and the others.

    Raises:
        ShareError: One of the other processes has failed; what was finished is in the parts.
    """
    n = 1 + len(sharing.devices)
    plan, n_threads = work.plan, max(1, torch.get_num_threads() // n)
    settings = dataclasses.replace(plan.settings, batch_size=plan.batch_size, max_rows=plan.max_rows)
    fitted = None if work.calibrated is None else work.calibrated.fitted
    shares = [
        _Share(
            sharing.opening,
            device,
            settings,
            list(groups[k::n]),
            parts,
            n_threads,
            work.simulators,
            plan.split,
            fitted,
        )
        for k, device in enumerate(sharing.devices, start=1)
        if groups[k::n]
    ]
    others = [_Other(share) for share in shares]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        work.roll_out(groups[::n], parts)
        while any(other.is_alive for other in others):
            time.sleep(POLL_SECONDS)
            for other in others:
                work.progress(other.new_steps())
        for other in others:
            other.check()
            work.progress(other.new_steps())
    finally:
        torch.set_num_threads(threads_before)
        for other in others:
            other.end()
    for share in shares:
        parts.restore(work.kept, only=share.groups)
        work.scored(sum(map(len, share.groups)))


class _Other:
    """A process with a share, as seen from the first one."""

    def __init__(self, share: _Share):
        context = multiprocessing.get_context("spawn")
        self.device = share.device
        self._receiver, sender = context.Pipe(duplex=False)
        self._done = context.Value("q", 0)
        self._seen = 0
        self._process = context.Process(target=_run, args=(share, self._done, sender, os.getpid()), daemon=True)
        self._process.start()
        sender.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def new_steps(self) -> int:
        """Since this was asked last."""
        before, self._seen = self._seen, self._done.value
        return self._seen - before

    def check(self) -> None:
        self._process.join()
        if self._process.exitcode != 0:
            try:
                told = self._receiver.recv()
            except EOFError:
                told = f"it ended with {self._process.exitcode}"
            raise ShareError(
                f"the process that evaluates on {self.device} has failed: {told.rstrip()}\n"
                "What was scored is kept: the same command, or autocast resume, goes on from there."
            )

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _run(share: _Share, done: Any, sender: Connection, parent: int) -> None:
    """What the process does."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)

    def listen(event: str, values: dict[str, Any]) -> None:
        if event == "progress":
            done.value = values["done"]
            if os.getppid() != parent:  # killed: nobody waits for this share
                os._exit(1)

    try:
        torch.set_num_threads(share.n_threads)
        with torch.no_grad():
            _make_work(share, listen).roll_out(share.groups, share.parts)
    except BaseException as error:
        sender.send(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        raise SystemExit(1) from None


def _make_work(share: _Share, listen: Callable[[str, dict[str, Any]], None]) -> Work:
    device = torch.device(share.device)
    model, data = share.opening()
    model, data, settings = in_rollout_mode(model.to(device), data, share.settings)  # type: ignore[attr-defined]
    plan: Plan = make_plan(model, data, settings, device, share.split)
    return Work(model, data, plan, device, listen, share.simulators, fitted=share.fitted)
