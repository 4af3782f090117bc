"""Lengths of time as SLURM and Lightning write them, and as people do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from autocast.runs.ranks import job_id

SLURM_FORMATS = "minutes (90), 12:00:00, 1-12:00:00"
UNLIMITED = ("unlimited", "infinite")
BUDGET_FORMATS = "12h, 90m, 45s, 1d12h, 12:00:00"
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


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


def budget_seconds(budget: Any) -> float | None:
    """Seconds of a `trainer.budget`; None where there is none.

    Raises:
        ValueError: It is no length of time, or has no unit.
    """
    if budget is None:
        return None
    text = str(budget).strip()
    if re.fullmatch(r"(\d+-)?\d+:\d+:\d+", text):
        seconds = slurm_seconds(text)
    elif re.fullmatch(r"(?=.)" + "".join(rf"(\d+(\.\d+)?{unit})?" for unit in UNITS), text):
        seconds = sum(float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+)([dhms])", text))
    else:
        seconds = 0.0
    if seconds <= 0:
        raise ValueError(f"{text}: not a length of time. Accepted: {BUDGET_FORMATS}")
    return seconds


def longest_training(config: Mapping[str, Any]) -> float:
    """Seconds after which a training ends, whatever it has reached; infinity where nothing says so.

    The time limit of a job that is started again when it is reached says nothing.
    """
    limits = (trainer_seconds(config["trainer"]["max_time"]), budget_seconds(config["trainer"].get("budget")))
    cluster = config.get("cluster") or {}
    once = job_id() is not None and (not cluster.get("requeue", True) or cluster.get("max_attempts") == 1)
    attempt = cluster.get("time") if once else None
    known = [limit for limit in limits if limit is not None]
    return min([math.inf, *known, *([] if attempt is None else [slurm_seconds(attempt)])])
