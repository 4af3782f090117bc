"""Signals that ask to stop. They only set a flag; the work looks at it where stopping is safe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REASONS = ("SIGUSR2", "SIGTERM", "SIGINT")
"""Why to stop, from the weakest to the strongest: before a time limit, which a restart follows for certain; by a
preemption or a cancellation, after which the scheduler decides; by the user, who starts again when it pleases."""

STOPPING = frozenset({signal.SIGUSR2, signal.SIGTERM})
"""What a scheduler sends to every process of a job, to children and grandchildren too."""


class StoppedError(Exception):
    """The work stopped because it was asked to, with everything saved.

    Args:
        reason: One of `REASONS`.
        epoch: Whole epochs behind what was saved.
        step: Optimiser steps behind it.
    """

    def __init__(self, reason: str, epoch: int = 0, step: int = 0):
        super().__init__(reason, epoch, step)
        self.reason = reason
        self.epoch = epoch
        self.step = step

    def __str__(self) -> str:
        return f"stopped by {self.reason} after step {self.step:,}"


class StopRequest:
    """Remembers that stopping was asked for, and why; the strongest reason counts."""

    def __init__(self) -> None:
        self.strength = 0
        """Place of the reason in `REASONS`, from 1; 0 is none. A number, so that ranks can agree on the greatest."""
        self._caught: set[int] = set()
        self._interrupted = False

    @property
    def requested(self) -> bool:
        return self.strength > 0

    @property
    def reason(self) -> str | None:
        return REASONS[self.strength - 1] if self.requested else None

    def ask(self, reason: str) -> None:
        self.raise_to(1 + REASONS.index(reason))

    def raise_to(self, strength: int) -> None:
        """Takes over the reason of another rank if it is stronger."""
        self.strength = max(self.strength, strength)

    @contextmanager
    def catching(self, *signals: signal.Signals) -> Iterator[StopRequest]:
        """While entered, these signals only ask. A second Ctrl-C raises `KeyboardInterrupt` wherever the work is.

        In another thread than the main one, which gets no signals, nothing is caught.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in signals if number not in self._caught}
        self._caught |= before.keys()
        try:
            yield self
        finally:
            self._caught -= before.keys()
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def reinstall(self) -> None:
        """Takes the signals back from someone who put another handler in place."""
        for number in self._caught:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        self._interrupted |= number == signal.SIGINT
        self.ask(signal.Signals(number).name)


@contextmanager
def children_shielded() -> Iterator[None]:
    """A process started in here never gets what a scheduler sends to stop the job: it lives until it is told to end.

    It inherits the block, also over `exec` and into its own children. For this process nothing is lost: what comes
    meanwhile is delivered at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent_only() -> None:
    """For a process that was started shielded, and that its parent may end by SIGTERM: other senders are ignored."""
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
