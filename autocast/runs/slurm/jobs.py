"""A job as the scheduler has it, read from what squeue, sacct and scontrol print."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from autocast.runs.walltime import slurm_seconds

ACTIVE_STATES = frozenset(
    {
        *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING"),
        *("SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESV_DEL_HOLD"),
    }
)
NOTHING = ("", "(null)", "n/a", "none", "unknown", "none assigned", "invalid", "partition_limit", "not_set")
COLUMNS = {
    "JobArrayID": 40,
    "State": 20,
    "Reason": 160,
    "Name": 200,
    "Comment": 200,
    "Partition": 60,
    "exit_code": 20,
    "TimeUsed": 24,
    "TimeLimit": 24,
    "StartTime": 24,
    "EndTime": 24,
    "NodeList": 200,
    "Dependency": 400,
}
"""squeue's fields and their widths in bytes: a column may hold any character, so columns are told apart by place."""
RECORDS = (
    *("JobID", "State", "Reason", "JobName", "Comment", "Partition", "ExitCode", "ElapsedRaw", "TimelimitRaw"),
    *("Start", "End", "NodeList", "User"),
)


@dataclass(frozen=True)
class SlurmJob:
    """A job, as the scheduler has it."""

    job_id: str
    """`184213`; of an array `184213_3`."""
    state: str
    """Slurm's word: PENDING, RUNNING, COMPLETING, COMPLETED, FAILED, CANCELLED, TIMEOUT, OUT_OF_MEMORY, ..."""
    reason: str = ""
    """Why it waits or failed, in Slurm's word; empty where there is nothing to say."""
    name: str = ""
    comment: str = ""
    partition: str = ""
    exit_code: int | None = None
    """None while it is active."""
    signal: int | None = None
    elapsed: float | None = None
    """Seconds of the present or last start."""
    time_limit: float | None = None
    """Seconds; None for unlimited or unknown."""
    start: float | None = None
    """Seconds since the epoch; while it waits, when it is expected to start."""
    end: float | None = None
    """Seconds since the epoch; None while it is active."""
    nodes: str = ""
    dependency: str = ""
    """`afterok:184213(unfulfilled)`."""

    @property
    def is_active(self) -> bool:
        """Whether it waits, runs, or is about to do one of them again."""
        return self.state in ACTIVE_STATES

    @property
    def upstream(self) -> tuple[str, ...]:
        """Ids of the jobs that it still waits for."""
        return tuple(re.findall(r"(?<=[:?,])(\d+(?:_\d+)?)", self.dependency))


def columns(line: str) -> dict[str, str] | None:
    """A line of squeue by column; None for one that is none, such as the name of a cluster."""
    content = line.encode(errors="surrogateescape")
    if len(content) != sum(COLUMNS.values()):
        return None
    row, position = {}, 0
    for name, width in COLUMNS.items():
        row[name] = content[position : position + width].decode(errors="replace").strip()
        position += width
    return row


def of_queue(row: Mapping[str, str]) -> SlurmJob:
    status = int(row["exit_code"]) if row["exit_code"].isdigit() else 0
    return _job(
        job_id=_id(row["JobArrayID"]),
        state=row["State"],
        reason=row["Reason"],
        name=row["Name"],
        comment=row["Comment"],
        partition=row["Partition"],
        ending=(status >> 8 & 0xFF if not status & 0x7F else 0, status & 0x7F),
        elapsed=_seconds(row["TimeUsed"]),
        time_limit=_seconds(row["TimeLimit"]),
        start=moment(row["StartTime"]),
        end=moment(row["EndTime"]),
        nodes=row["NodeList"],
        dependency=row["Dependency"],
    )


def of_accounting(record: Mapping[str, str]) -> SlurmJob:
    minutes = record["TimelimitRaw"]
    return _job(
        job_id=_id(record["JobID"]),
        state=record["State"],
        reason=record["Reason"],
        name=record["JobName"],
        comment=record["Comment"],
        partition=record["Partition"],
        ending=_ending(record["ExitCode"]),
        elapsed=float(record["ElapsedRaw"]) if record["ElapsedRaw"].isdigit() else None,
        time_limit=60.0 * int(minutes) if minutes.isdigit() else None,
        start=moment(record["Start"]),
        end=moment(record["End"]),
        nodes=record["NodeList"],
        dependency="",
    )


def of_controller(line: str) -> SlurmJob:
    shown = dict(re.findall(r"(?:^| )([A-Z][\w/:]*)=(.*?)(?= [A-Z][\w/:]*=|\s*$)", line))
    index = shown.get("ArrayTaskId", "")
    return _job(
        job_id=f"{shown['ArrayJobId']}_{index}" if index.isdigit() else shown["JobId"],
        state=shown["JobState"],
        reason=shown["Reason"],
        name=shown["JobName"],
        comment=shown.get("Comment", ""),
        partition=shown["Partition"],
        ending=_ending(shown["ExitCode"]),
        elapsed=_seconds(shown["RunTime"]),
        time_limit=_seconds(shown["TimeLimit"]),
        start=moment(shown["StartTime"]),
        end=moment(shown["EndTime"]),
        nodes=shown["NodeList"],
        dependency=shown["Dependency"],
    )


def _job(*, state: str, ending: tuple[int, int], end: float | None, **fields: str | float | None) -> SlurmJob:
    """A job without Slurm's ways of saying that there is nothing to say."""
    words = state.split(maxsplit=1)  # `CANCELLED by 1000`
    told = {name: _told(value) if isinstance(value, str) else value for name, value in fields.items()}
    active = not words or words[0] in ACTIVE_STATES
    over = {} if active else {"exit_code": ending[0], "signal": ending[1] or None, "end": end}
    return SlurmJob(state=words[0] if words else "UNKNOWN", **told, **over)  # type: ignore[arg-type]


def _told(text: str) -> str:
    return "" if text.strip().lower() in NOTHING else text.strip()


def _id(text: str) -> str:
    """The id without the name of its cluster."""
    return text.partition(";")[0]


def _ending(text: str) -> tuple[int, int]:
    """`3:0`: exit code and signal."""
    code, _, number = text.partition(":")
    return int(code) if code.isdigit() else 0, int(number) if number.isdigit() else 0


def _seconds(text: str) -> float | None:
    """A length as Slurm prints it; None for one that is unlimited or unknown."""
    with contextlib.suppress(ValueError):
        seconds = slurm_seconds(text)
        return float(seconds) if seconds < math.inf else None
    return None


def moment(text: str) -> float | None:
    """A date as Slurm prints it, in the time of this machine; None where there is none, or none that can be meant."""
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text).timestamp()
        return found if found < time.time() + 10 * 365 * 86400 else None
    return None
