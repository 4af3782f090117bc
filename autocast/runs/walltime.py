"""Lengths of time as SLURM and Lightning write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from autocast.runs.ranks import job_id

SLURM_FORMATS = "minutes (90), 12:00:00, 1-12:00:00"
UNLIMITED = ("unlimited", "infinite")


def slurm_seconds(time: str | int) -> float:
    """Seconds of a time limit; infinity for an unlimited one.

    Args:
        time: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes` or
            `days-hours:minutes:seconds`.

    Raises:
        ValueError: It is none of these.
    """
    text = str(time).strip()
    if text.lower() in UNLIMITED:
        return math.inf
    if not re.fullmatch(r"(\d+-\d+(:\d+){0,2})|(\d+(:\d+){0,2})", text):
        raise ValueError(f"{text}: not a time. Accepted: {SLURM_FORMATS}")
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = (0, *parts, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def trainer_seconds(max_time: Any) -> float | None:
    """Seconds of a `trainer.max_time`: `DD:HH:MM:SS`, or `{hours: 12}`; None where it is neither."""
    if isinstance(max_time, Mapping):
        numbers = {str(unit): value for unit, value in max_time.items() if isinstance(value, int | float)}
        known = {"weeks", "days", "hours", "minutes", "seconds"}
        return timedelta(**numbers).total_seconds() if numbers.keys() <= known else None
    if not re.fullmatch(r"\d+:\d+:\d+:\d+", str(max_time)):
        return None
    days, hours, minutes, seconds = map(int, str(max_time).split(":"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def longest_training(config: Mapping[str, Any]) -> float:
    """Seconds after which a training ends, whatever it has reached; infinity where nothing says so.

    The time limit of a job that is started again when it is reached says nothing.
    """
    limit = trainer_seconds(config["trainer"]["max_time"])
    cluster = config.get("cluster") or {}
    once = job_id() is not None and (not cluster.get("requeue", True) or cluster.get("max_attempts") == 1)
    attempt = cluster.get("time") if once else None
    return min(math.inf if limit is None else limit, math.inf if attempt is None else slurm_seconds(attempt))
