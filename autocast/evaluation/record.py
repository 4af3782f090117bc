"""The record of an evaluation, `evaluation.json`: what was scored, on which data and how, for programs to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast.evaluation.files import write_text

if TYPE_CHECKING:
    from autocast.metrics.registry import Metric

RECORD_FILE = "evaluation.json"
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """What an evaluation says of itself."""

    data: Mapping[str, Any]
    """`name`, `split`, `digest`, `n_trajectories`."""
    rollout: Mapping[str, Any]
    """`mode`, `seed`, `n_members`, `n_steps`, `n_steps_input`, `stride`."""
    timing: Mapping[str, Any]
    deterministic: bool
    reconstructs: bool
    n_parameters: int | None
    lengths: tuple[int, ...]
    """Steps that each trajectory was scored for."""
    windows: Mapping[str, tuple[int, int]]
    """First and last lead time by label."""
    metrics: Mapping[str, Mapping[str, Any]]
    """By name: `ideal`, what a perfect forecast scores, and `pooled`, whether it is a formula of averages."""

    @property
    def n_members(self) -> int:
        return int(self.rollout["n_members"])


def metric_facts(metrics: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    return {metric.name: {"ideal": metric.ideal, "pooled": metric.pooled} for metric in metrics}


def write_record(directory: Path, record: Record) -> Path:
    """Whole or not at all."""
    text = json.dumps({"format": FORMAT, **vars(record)}, indent=2) + "\n"
    return write_text(text, directory / RECORD_FILE)


def read_record(directory: Path) -> Record | None:
    """None where there is no record, or one of another format."""
    file = directory / RECORD_FILE
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if content.pop("format", None) != FORMAT:
        return None
    windows = {label: (first, last) for label, (first, last) in content["windows"].items()}
    return Record(**{**content, "windows": windows, "lengths": tuple(content["lengths"])})
