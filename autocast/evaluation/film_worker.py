"""Films drawn by a process of their own and of low priority, while scoring goes on.

The process imports no torch. One film after the other goes there and comes back as a path or as what went wrong; a
process that dies takes one film along, and the next film starts another, of normal priority once scoring is over.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from types import TracebackType
from typing import Any

from autocast.errors import AutocastError
from autocast.evaluation.movies import forget_partials
from autocast.evaluation.result import Example
from autocast.evaluation.videos import draw_example_video, film_name
from autocast.types import FieldSpec

NICENESS = 10
"""While there is scoring; when that is over, whatever else runs on the machine would keep the films waiting."""
POLL_SECONDS = 0.2
OnEvent = Callable[[str, dict[str, Any]], None]
IGNORED = (signal.SIGTERM, signal.SIGUSR2)
"""Sent to all processes of a job; the one that scores ends the one that draws."""


class FilmError(AutocastError):
    """Films that could not be drawn."""


@dataclass(frozen=True)
class _Order:
    example: Example
    spec: FieldSpec
    path: Path
    fps: float


class Films:
    """The films of an evaluation, drawn as its examples come in.

    A process starts with the first of them. It ends with the context, and with it whatever is not drawn by then.

    Args:
        directory: Of the films.
        fps: Frames per second.
    """

    def __init__(self, directory: Path, fps: float):
        self._directory = directory
        self._fps = fps
        self._talker = ThreadPoolExecutor(1)
        self._films: dict[int, Future[Path]] = {}
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._niceness = NICENESS
        self._closed = False

    def __enter__(self) -> Films:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._talker.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            if self._worker is not None:
                self._worker.end()
        self._talker.shutdown()

    def draw(self, example: Example, spec: FieldSpec) -> None:
        """Takes an order, and returns at once."""
        order = _Order(example, spec, self._directory / film_name(example), self._fps)
        self._films[example.trajectory] = self._talker.submit(self._have_drawn, order)

    def finish(self, on_event: OnEvent) -> None:
        """Waits for all films.

        Args:
            on_event: Told of "progress" (films done and in all) several times a second, and in a "note" of every film
                that could not be drawn.
        """
        self._niceness = 0
        left = set(self._films.values())
        while left:
            left = wait(left, timeout=POLL_SECONDS).not_done
            on_event("progress", {"done": len(self._films) - len(left), "total": len(self._films)})
        for number, why in self._failures.items():
            on_event("note", {"text": f"no film of trajectory {number}: {why}"})

    def check(self) -> None:
        """
        Raises:
            FilmError: Some films could not be drawn; all of them are named.
        """
        if failures := self._failures:
            listed = "\n".join(f"  trajectory {number}: {why}" for number, why in failures.items())
            raise FilmError(
                f"{len(failures)} of {len(self._films)} films could not be drawn. Scores, report and the other films "
                f"are there.\n{listed}\nautocast resume draws them again, and eval.video=false does without."
            )

    @property
    def _failures(self) -> dict[int, str]:
        """What went wrong, by the trajectory; all is finished."""
        errors = ((number, film.exception()) for number, film in sorted(self._films.items()))
        return {number: f"{error}" for number, error in errors if error is not None}

    def _have_drawn(self, order: _Order) -> Path:
        """In the thread that talks to the process."""
        return self._open_worker().draw(order)

    def _open_worker(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise FilmError("not drawn any more")
            worker = self._worker
            if worker is None or not worker.is_alive or worker.niceness != self._niceness:
                if worker is not None:
                    worker.end()
                worker = self._worker = _Worker(self._directory, self._niceness)
            return worker


class _Worker:
    """The process, as seen from the one that scores."""

    def __init__(self, directory: Path, niceness: int):
        context = multiprocessing.get_context("spawn")
        self.niceness = niceness
        self._directory = directory
        self._line, far_end = context.Pipe()
        self._process = context.Process(target=_run, args=(far_end, niceness), daemon=True)
        self._process.start()
        far_end.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def draw(self, order: _Order) -> Path:
        try:
            self._line.send(order)
            answer = self._line.recv()
        except (EOFError, OSError):
            self.end()
            raise FilmError(f"the process that drew it ended with {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise FilmError(answer)
        return answer

    def end(self) -> None:
        """With the encoder that it may have started."""
        if self._process.pid is not None and self._process.is_alive():
            with suppress(ProcessLookupError):  # so young that it leads no group yet, and has started nothing
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._process.join()
        if self._process.pid is not None:
            forget_partials(self._directory, self._process.pid)


def _run(line: Connection, niceness: int) -> None:
    """What the process does."""
    os.setsid()  # Ctrl-C is for the process that scores, and whoever ends this one ends its encoder
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.nice(niceness)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        order: _Order = line.recv()
        try:
            line.send(draw_example_video(order.example, order.spec, order.path, fps=order.fps))
        except Exception as error:
            line.send(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
