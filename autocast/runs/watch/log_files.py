"""The log files of a stage, in order, and which of their lines are its own."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autocast.runs.watch.journal import Journal
from autocast.runs.watch.stages import Stage

OUT, ERR = "out", "err"
HEADER = re.compile(r"=== autocast (?P<kind>\S+) (?P<stage>\S+) attempt (?P<attempt>\d+) .*===")
"""What every attempt writes first: jobs append to the files of those before them."""
NAME = re.compile(r"(?P<job>.+)_(?P<rank>\d+)_log\.(?:out|err)")


class LogFile(NamedTuple):
    """What one process of a job wrote, over all its attempts."""

    job_id: str
    """`184213`; of a detached run `local-1`."""
    rank: int
    file: Path


def log_files(stage: Stage, journal: Journal, stream: str = OUT) -> list[LogFile]:
    """In the order in which the jobs were sent, by rank."""
    folder = stage.directory.logs_dir(stage.kind)
    found = []
    for job_id in _senders(journal):
        matched = ((NAME.fullmatch(file.name), file) for file in folder.glob(f"{job_id}_*_log.{stream}"))
        own = [LogFile(job_id, int(m["rank"]), file) for m, file in matched if m and m["job"] == job_id]
        found += sorted(own)
    return found


def ranks(files: Sequence[LogFile]) -> list[int]:
    return sorted({log.rank for log in files})


class OwnLines:
    """Keeps the lines of one stage, or of one attempt of it; what comes before the first header is everyone's."""

    def __init__(self, stage: Stage, attempt: int | None = None):
        self.stage = stage
        self.attempt = attempt
        self._inside = attempt is None

    def keeps(self, line: str) -> bool:
        if found := HEADER.match(line):
            own = (found["kind"], found["stage"]) == (self.stage.kind, self.stage.stage)
            self._inside = own and self.attempt in (None, int(found["attempt"]))
        return self._inside


class Tail:
    """Reads on in a file that is appended to."""

    def __init__(self, file: Path, own: OwnLines):
        self.file = file
        self.own = own
        self._offset = 0

    def new_lines(self, *, also_unfinished: bool = False) -> list[str]:
        """Whole lines since the last call; at the end also one that lacks its newline."""
        with self.file.open("rb") as stream:
            stream.seek(self._offset)
            content = stream.read()
        if not also_unfinished:
            content = content[: content.rfind(b"\n") + 1]
        self._offset += len(content)
        lines = content.decode("utf-8", errors="replace").split("\n")
        return [shown(line) for line in (lines if lines[-1] else lines[:-1]) if self.own.keeps(line)]


def shown(line: str) -> str:
    """A line as a terminal leaves it: of a bar that is drawn again and again, the last state."""
    return line.rstrip("\r").rpartition("\r")[2]


def lines_of(files: Sequence[LogFile], stage: Stage, attempt: int | None = None) -> Iterator[str]:
    """The lines of several files, one after the other."""
    for log in files:
        yield from Tail(log.file, OwnLines(stage, attempt)).new_lines(also_unfinished=True)


def last_lines(lines: Iterator[str], n: int | None) -> list[str]:
    return list(deque(lines, maxlen=n))


def _senders(journal: Journal) -> list[str]:
    """Job ids and numbers of detached children, in order."""
    names = []
    for event in journal.events:
        if event["event"] == "submitted":
            names.append(str(event["job_id"]))
        elif event["event"] == "detached":
            names.append(Path(event["log"]).name.removesuffix("_0_log.out"))
    return list(dict.fromkeys(names))
