"""What shows while the work goes on."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from autocast.runs.console import Screen

if TYPE_CHECKING:
    from autocast.training.progress import Display


def display(screen: Screen) -> Display:
    """Where a training shows its progress."""
    from autocast.training.progress import Display

    return Display(screen.rich, live=not screen.plain)


class Progress:
    """A bar on a terminal; in a pipe one line at each tenth of the work."""

    def __init__(self, screen: Screen, verb: str):
        self._screen, self._verb = screen, verb
        self._tenths = 0
        self._bar: Any = None

    def update(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif done * 10 // max(total, 1) > self._tenths:
            self._tenths = done * 10 // total
            self._screen.line(f"{self._verb}  {done}/{total}  {self._tenths * 10} %")

    def __enter__(self) -> Progress:
        if not self._screen.plain:
            from rich import progress

            columns = [progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TaskProgressColumn()]
            columns += [progress.TimeElapsedColumn(), progress.TextColumn("ETA"), progress.TimeRemainingColumn()]
            self._bar = progress.Progress(*columns, console=self._screen.rich, transient=True)
            self._task = self._bar.add_task(self._verb, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
