"""A table of stages: plain columns in a pipe, colours on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autocast.runs.console import columns, duration
from autocast.runs.watch import verdicts
from autocast.runs.watch.status import StageStatus

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("run", "stage", "state", "progress", "left", "elapsed", "attempt", "why")
COLOURS = {
    **dict.fromkeys((verdicts.DONE,), "green"),
    **dict.fromkeys((verdicts.RUNNING,), "cyan"),
    **dict.fromkeys((verdicts.PENDING, verdicts.WAITING, verdicts.REQUEUED, verdicts.LAUNCHED), "yellow"),
    **dict.fromkeys((verdicts.FAILED, verdicts.LOST, verdicts.STUCK, verdicts.INCOMPLETE, verdicts.ABORTED), "red"),
    **dict.fromkeys((verdicts.STOPPED, verdicts.INTERRUPTED, verdicts.CANCELLED, verdicts.UNKNOWN), "magenta"),
}


def cells(status: StageStatus) -> tuple[str, ...]:
    """What the table says of a stage, one text for each heading."""
    return (
        status.stage.directory.label,
        status.stage.name,
        status.state,
        status.progress.text,
        "-" if status.left is None else duration(status.left),
        _elapsed(status),
        _attempt(status),
        status.why,
    )


def lines(found: Sequence[StageStatus]) -> list[str]:
    """Headings and one line for each stage, columns aligned."""
    return columns([HEADINGS, *(cells(status) for status in found)])


def table(found: Sequence[StageStatus]) -> Table:
    """For a terminal: the last column is folded, the others are whole."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in HEADINGS:
        made.add_column(heading, no_wrap=heading != "why", overflow="fold" if heading == "why" else "ellipsis")
    for status in found:
        texts = [Text(text) for text in cells(status)]
        texts[2].stylize(COLOURS[status.state])
        made.add_row(*texts)
    return made


def _elapsed(status: StageStatus) -> str:
    if status.elapsed is None:
        return "-"
    spent = duration(status.elapsed)
    return f"{spent} of {duration(status.limit)}" if status.limit and status.is_active else spent


def _attempt(status: StageStatus) -> str:
    if status.attempt is None and status.max_attempts is None:
        return "-"
    k = status.attempt or 1
    return f"{k}/{status.max_attempts}" if status.max_attempts and k <= status.max_attempts else str(k)
