"""What went wrong in the processes of a stage's last attempt: from its journal, else from the tails of its logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast.runs.events import Event
from autocast.runs.watch.journal import Journal
from autocast.runs.watch.log_files import ERR, HEADER, LogFile, log_files
from autocast.runs.watch.stages import Stage

TAIL = 256_000
"""Bytes that are read from the end of a log."""
TRACEBACK = "Traceback (most recent call last):"
RAISED = re.compile(r"^(?P<error>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$", re.DOTALL)
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')
OWN_FILE = re.compile(r"^.*/(?=autocast/(?!.*site-packages)[^/]+)")
CONSEQUENCES = re.compile(
    r"Connection (?:closed|reset)|Broken pipe|DistBackendError|DistNetworkError|DistStoreError|NCCL|gloo|"
    r"ChildFailedError|SignalException|Watchdog",
    re.IGNORECASE,
)
"""What processes say because another one of their group has gone."""


@dataclass(frozen=True)
class Failure:
    """An exception, and the process that met it."""

    error: str
    message: str
    traceback: str
    rank: int
    log: Path | None = None

    @property
    def is_consequence(self) -> bool:
        return CONSEQUENCES.search(f"{self.error}: {self.message}") is not None

    @property
    def place(self) -> str:
        """`Attention.forward (autocast/nn/attention.py:88)`: the innermost frame of this package."""
        own = [found for found in FRAME.finditer(self.traceback) if OWN_FILE.search(found["file"])]
        if not own:
            return ""
        file = OWN_FILE.sub("", own[-1]["file"])
        return f"{own[-1]['name']} ({file}:{own[-1]['line']})"


@dataclass(frozen=True)
class Tails:
    """The ends of what the processes wrote to standard error in the last attempt."""

    files: Sequence[LogFile]
    texts: Sequence[str]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def read_tails(stage: Stage, journal: Journal) -> Tails:
    """Of every rank of the latest job; lines of earlier attempts are left out."""
    files = log_files(stage, journal, ERR)
    latest = [log for log in files if log.job_id == files[-1].job_id]
    return Tails(latest, [_tail(log.file) for log in latest])


def first_failure(journal: Journal, tails: Tails) -> Failure | None:
    """The exception that the others followed from, as far as that can be told."""
    told = [_of_event(event) for event in journal.attempt_events if event["event"] == "failed"]
    found = told or list(_of_tails(tails))
    return next((failure for failure in found if not failure.is_consequence), found[0] if found else None)


def _of_event(event: Event) -> Failure:
    rank = event.get("rank")
    return Failure(event["error"], event["message"], event["traceback"], rank or 0)


def _of_tails(tails: Tails) -> Iterator[Failure]:
    """In the order in which the processes wrote last."""
    pairs = sorted(zip(tails.files, tails.texts, strict=True), key=lambda pair: pair[0].file.stat().st_mtime)
    for log, text in pairs:
        if found := last_traceback(text):
            raised = RAISED.match(found.rstrip().rpartition("\n")[2])
            error, message = (raised["error"], raised["message"] or "") if raised else ("", "")
            yield Failure(error.rpartition(".")[2], message, found, log.rank, log.file)


def last_traceback(text: str) -> str:
    """From its first line to the exception's."""
    start = text.rfind(TRACEBACK)
    if start < 0:
        return ""
    lines = text[start:].splitlines()
    end = next((i for i, line in enumerate(lines[1:], 1) if line and not line.startswith(" ")), len(lines) - 1)
    return "\n".join(lines[: end + 1]) + "\n"


def _tail(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL))
        text = stream.read().decode("utf-8", errors="replace")
    headers = [found.end() for found in HEADER.finditer(text)]
    return text[headers[-1] :] if headers else text
