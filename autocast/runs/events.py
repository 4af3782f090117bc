"""What happened to a stage, one JSON line per event; the log is only ever appended to."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autocast.runs.environment import redact

Event = dict[str, Any]


def append_event(file: Path, event: str, /, **fields: Any) -> None:
    """Adds one line, without secrets; a single write, so that lines of several processes do not mix."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **_redacted(fields)}, default=str)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def read_events(file: Path) -> list[Event]:
    """All complete lines; a last one that a kill cut short is left out."""
    if not file.is_file():
        return []
    events = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events


def this_process() -> dict[str, Any]:
    """What identifies this process later on, also when its number is in use again."""
    return process_identity(os.getpid())


def process_identity(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "process_start": process_start(pid)}


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process that an event names still lives on this machine, and is not another with its number."""
    here = process["host"] == socket.gethostname()
    return here and process_start(process["pid"]) == process["process_start"] is not None


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _redacted(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(entry) for entry in value]
    return redact(value) if isinstance(value, str) else value


def process_start(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot; None where there is no such process or no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
