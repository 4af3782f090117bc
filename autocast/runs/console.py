"""What is printed: panels on a terminal, plain lines in a pipe, one JSON document for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autocast.runs.problems import Problem

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST_PANEL = 60
WIDEST_PANEL = 100
WIDEST_SUBJECT = 40


class Screen:
    """Where a command prints. With `as_json`, standard output carries the document and nothing else."""

    def __init__(self, *, as_json: bool = False):
        self.as_json = as_json

    @cached_property
    def rich(self) -> Console:
        """For what is worth reading; standard error where standard output is kept for a document."""
        return _console(stderr=self.as_json)

    @cached_property
    def rich_error(self) -> Console:
        return _console(stderr=True)

    @property
    def plain(self) -> bool:
        """No colour, no boxes, one line per event: in a pipe, under NO_COLOR, on a narrow or dumb terminal."""
        dumb = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return dumb or not self.rich.is_terminal or self.rich.width < NARROWEST_PANEL

    def line(self, text: str = "") -> None:
        self.rich.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self.line(f"note: {text}")

    def error(self, text: str) -> None:
        self.rich_error.print(text, markup=False, highlight=False, soft_wrap=True)

    def panel(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """A title over rows of a word and what it says."""
        lines = aligned(rows)
        if self.plain:
            self.line(title)
            for text in lines:
                self.line(f"  {text}")
            return
        from rich.panel import Panel
        from rich.text import Text

        width = min(WIDEST_PANEL, self.rich.width)
        body = Text("\n".join(lines))
        self.rich.print(Panel(body, title=Text(title), title_align="left", width=width, highlight=False))

    def problems(self, problems: Sequence[Problem]) -> None:
        """All mistakes in one message."""
        self.error(problems_text(problems))

    def yaml(self, text: str) -> None:
        """YAML, coloured on a terminal."""
        if self.plain:
            self.line(text.rstrip())
            return
        from rich.syntax import Syntax

        self.rich.print(Syntax(text.rstrip(), "yaml", background_color="default", word_wrap=True))

    @contextmanager
    def standard_output_kept(self) -> Iterator[None]:
        """Inside, whatever prints to standard output prints to standard error, if a document is to come."""
        with redirect_stdout(sys.stderr) if self.as_json else nullcontext():
            yield

    def document(self, content: dict[str, Any]) -> None:
        """The one JSON document of `--json`, on standard output."""
        print(json.dumps(content, indent=2, default=str))


def aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Rows as lines, the second column aligned."""
    width = max((len(word) for word, _ in rows), default=0)
    return [f"{word:<{width}}   {text}".rstrip() for word, text in rows]


def problems_text(problems: Sequence[Problem]) -> str:
    """`3 problems, nothing was started:` and one aligned line for each."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    width = min(max((len(problem.subject) for problem in problems), default=0), WIDEST_SUBJECT)
    lines = [f"  {problem.subject:<{width}}   {problem.message}" for problem in problems]
    return "\n".join([f"{count}, nothing was started:", *lines])


def file_size(n_bytes: float) -> str:
    """`13.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """`5:52`, `1:02:03`, `9 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def ago(seconds: float) -> str:
    """`2 h ago`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)
