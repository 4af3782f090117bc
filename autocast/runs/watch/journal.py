"""What a stage's journal says of its latest life: from the last launch or submission on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autocast.runs.events import Event

REPEATED = re.compile(r'.{1,40}"event": "(?:epoch|checkpoint)"')
"""Lines of which a long training has thousands."""
N_REPEATED = 8
"""How many of them are read, from the end."""

BIRTHS = ("launched", "submitting")
ATTEMPT_ENDS = ("stopped", "failed", "interrupted", "stuck", "upstream_incomplete", "finished")
CLOSING = ("failed", "interrupted", "cancelled", "aborted", "stuck", "upstream_incomplete", "not_submitted", "ended")
"""After these nothing more comes of a life."""
COMMANDED = ("cancelled", "aborted")
"""What a command did to the job counts before what the job said of it."""
LEAVINGS = ("requeued", "left", "ended")
"""What becomes of a job that was stopped."""


@dataclass(frozen=True)
class Journal:
    """Events of a stage, all but most of its epochs and checkpoints."""

    events: tuple[Event, ...]

    @cached_property
    def life(self) -> tuple[Event, ...]:
        """Events since the last launch or submission."""
        starts = [i for i, event in enumerate(self.events) if event["event"] in BIRTHS]
        return self.events[starts[-1] :] if starts else self.events

    def last(self, *names: str) -> Event | None:
        """The latest of these events in this life."""
        return next((event for event in reversed(self.life) if event["event"] in names), None)

    @property
    def submitted(self) -> Event | None:
        return self.last("submitted")

    @property
    def job_id(self) -> str | None:
        return str(self.submitted["job_id"]) if self.submitted else None

    @property
    def job_ids(self) -> list[str]:
        """Of all lives, in their order."""
        ids = (str(event["job_id"]) for event in self.events if event["event"] == "submitted")
        return list(dict.fromkeys(ids))

    @property
    def unconfirmed(self) -> Event | None:
        """A submission that was begun and of which nobody knows what came of it."""
        last = self.last("submitting", "submitted", "not_submitted", "aborted")
        return last if last and last["event"] == "submitting" else None

    @property
    def has_open_intent(self) -> bool:
        """Whether a submission was ever begun of which nobody knows what came of it, whatever was said since."""
        settled = {event["comment"] for event in self.events if event["event"] in ("submitted", "not_submitted")}
        return any(e["event"] == "submitting" and e["comment"] not in settled for e in self.events)

    @property
    def started(self) -> Event | None:
        return self.last("started")

    @property
    def begun(self) -> Event | None:
        """The latest event that names a process of this life."""
        return self.last("started", "detached")

    @property
    def attempt(self) -> int | None:
        return self.started["attempt"] if self.started else None

    @property
    def max_attempts(self) -> int | None:
        """The number that the last attempt of this life would have."""
        allowed = (self.submitted or {}).get("max_attempts")
        before = sum(event["event"] == "started" for event in self.events[: len(self.events) - len(self.life)])
        return before + allowed if allowed else None

    @property
    def ended(self) -> Event | None:
        """How the latest attempt ended; None while it has not, or has left no word of it."""
        return next((e for e in reversed(self.attempt_events) if e["event"] in ATTEMPT_ENDS), None)

    @property
    def leaving(self) -> str | None:
        """What the latest attempt said of how its job goes on."""
        return next((e["event"] for e in reversed(self.attempt_events) if e["event"] in LEAVINGS), None)

    @property
    def closed(self) -> Event | None:
        """The word after which nothing more comes of this life."""
        said = [event for event in self.attempt_events if event["event"] in CLOSING]
        return next((event for event in said if event["event"] in COMMANDED), said[0] if said else None)

    @property
    def dependency(self) -> list[str]:
        """The jobs that its job was to wait for."""
        return [str(job_id) for job_id in (self.submitted or {}).get("dependency") or ()]

    @property
    def may_wait(self) -> bool:
        """Whether it was sent somewhere, and neither started nor had a last word."""
        return self.started is None and self.closed is None and self.last("submitted", "detached") is not None

    @property
    def sent_with(self) -> tuple[Any, ...] | None:
        """What the stages of one job, or of one process, have in common."""
        if self.job_id:
            return (self.job_id,)
        detached = self.last("detached")
        return (detached["host"], detached["pid"], detached["process_start"]) if detached else None

    @property
    def stopped_before(self) -> Event | None:
        """Why the attempt before the latest one was stopped."""
        before = self.life[: len(self.life) - len(self.attempt_events)]
        return next((event for event in reversed(before) if event["event"] == "stopped"), None)

    @cached_property
    def attempt_events(self) -> tuple[Event, ...]:
        """From the start of this life's latest attempt on; all of it where there was none."""
        starts = [i for i, event in enumerate(self.life) if event["event"] == "started"]
        return self.life[starts[-1] :] if starts else self.life


def read_journal(file: Path) -> Journal:
    """Reads a journal; of the lines that a long training repeats only the last ones are parsed."""
    if not file.is_file():
        return Journal(())
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # a whole line ends in a newline
    repeated = [i for i, line in enumerate(lines) if REPEATED.match(line)]
    left_out = set(repeated[:-N_REPEATED])
    parsed = (_parse(line) for i, line in enumerate(lines) if i not in left_out)
    return Journal(tuple(event for event in parsed if event is not None))


def _parse(line: str) -> Event | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
