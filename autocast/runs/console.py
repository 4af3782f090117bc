"""What is printed: panels on a terminal, plain lines in a pipe, one JSON document for scripts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from autocast.runs.problems import Problem

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST_PANEL = 60
WIDEST_PANEL = 100
WIDEST_SUBJECT = 40


class Screen:
    """Where a command prints. With `as_json`, standard output carries the document and nothing else."""

    def __init__(self, *, as_json: bool = False, to: TextIO | None = None):
        self.as_json = as_json
        self._to = to

    @classmethod
    def silent(cls) -> Screen:
        """Of a process that works beside the one that tells; its errors are told all the same."""
        return cls(to=Path(os.devnull).open("w", encoding="utf-8"))

    @property
    def stream(self) -> TextIO:
        """For what is worth reading; standard error where standard output is kept for a document."""
        return self._to or (sys.stderr if self.as_json else sys.stdout)

    @cached_property
    def rich(self) -> Console:
        """The stream for what is more than lines: panels and live displays."""
        from rich.console import Console

        return Console(file=self._to, stderr=self.as_json)

    @property
    def plain(self) -> bool:
        """No colour, no boxes, one line per event: in a pipe, under NO_COLOR, on a narrow or dumb terminal."""
        dumb = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return dumb or not self.stream.isatty() or shutil.get_terminal_size().columns < NARROWEST_PANEL

    def line(self, text: str = "") -> None:
        print(text, file=self.stream, flush=True)

    def note(self, text: str) -> None:
        self.line(f"note: {text}")

    def error(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def panel(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """A title over rows of a word and what it says."""
        if self.plain:
            self.line("\n".join([title, *(f"  {line}" for line in aligned(rows))]))
            return
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        body = Table.grid(padding=(0, 3, 0, 0))
        body.add_column(no_wrap=True)
        body.add_column(overflow="fold")
        for word, text in rows:
            body.add_row(Text(word), Text(text))
        width = min(WIDEST_PANEL, self.rich.width)
        self.rich.print(Panel(body, title=Text(title), title_align="left", width=width))

    def table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns below their heads; on a terminal that is too narrow they are folded, the last one is not."""
        if self.plain:
            self.line("\n".join([title, *(f"  {line}" for line in columns([heads, *rows]))]))
            return
        from rich.table import Table
        from rich.text import Text

        made = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", title=Text(title), title_justify="left")
        for i, head in enumerate(heads):
            made.add_column(Text(head), overflow="fold", no_wrap=i == len(heads) - 1)
        for row in rows:
            made.add_row(*map(Text, row))
        self.rich.print(made)

    def problems(self, problems: Sequence[Problem]) -> None:
        """All mistakes in one message."""
        self.error(problems_text(problems))

    def yaml(self, text: str) -> None:
        self.code(text.rstrip(), "yaml")

    def code(self, text: str, language: str) -> None:
        """As it is, coloured on a terminal."""
        if self.plain:
            self.line(text)
            return
        from rich.syntax import Syntax

        self.rich.print(Syntax(text, language, background_color="default", word_wrap=True))

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


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many texts each as lines, all columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:<{n}}" for text, n in zip(row, widths, strict=True)).rstrip() for row in rows]


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
