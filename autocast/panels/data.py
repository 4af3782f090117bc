"""Panels of data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autocast.panels.words import Rows, count
from autocast.runs.console import file_size
from autocast.runs.job import Outcome

if TYPE_CHECKING:
    from autocast.data.inspect import DatasetReport, SplitReport
    from autocast.data.simulate import SimulationSummary
    from autocast.runs.using import InspectRequest
    from autocast.types import FieldSpec


def simulated(summary: SimulationSummary) -> Outcome:
    """The closing panel of a simulation."""
    made = "was there already, complete" if summary.was_complete else f"{summary.n_simulated} simulated now"
    rows = [("trajectories", f"{summary.n_trajectories} · {made}"), ("digest", summary.digest[:16])]
    figures = {"path": str(summary.path), "n_trajectories": summary.n_trajectories, "digest": summary.digest}
    return Outcome(
        figures, rows, f"autocast ae --dataset {shlex.quote(str(summary.path))}", [summary.path / "manifest.json"]
    )


def inspected(request: InspectRequest, report: DatasetReport, drawn: list[Path]) -> Outcome:
    """What a data set is, and what is wrong with it."""
    spec = report.spec
    grid = " × ".join(f"{name} {n}" for name, n in zip(spec.dim_names, spec.grid_shape, strict=True))
    rows: Rows = [
        ("data set", f"{spec.dataset_name} · {report.layout} layout · digest {report.digest[:16]}"),
        ("grid", f"{grid} · {', '.join(spec.boundary)} · extent {' × '.join(f'{x:g}' for x in spec.extent)}"),
    ]
    rows += [] if spec.is_picture else [("time", f"{spec.time_step:g} from frame to frame")]
    for name, split in report.splits.items():
        size = f"{count(split.n_files, 'file')}, {file_size(split.n_bytes)}"
        rows.append((name, f"{_length(split, spec)} · {size}"))
        for channel in split.channels:
            values = (
                f"mean {channel.mean:.4g}  std {channel.std:.4g}  from {channel.minimum:.4g} to {channel.maximum:.4g}"
            )
            change = "" if spec.is_picture else f"  change {channel.std_delta:.4g}"
            rows.append(("", f"{channel.name} [{channel.unit or '1'}]  {values}{change}"))
        for scalar, (low, high) in split.scalars.items():
            rows.append(("", f"{scalar}  {low:.4g}" + ("" if low == high else f" to {high:.4g}")))
    rows.append(("statistics", report.statistics))
    rows += [("note", note) for note in report.notes]
    rows += [(finding.severity, f"{finding.check}: {finding.message}") for finding in report.findings]
    rows += [("drawn", str(file)) for file in drawn]
    checks = "no finding" if not report.findings else count(len(report.findings), "finding")
    command = f"autocast ae --dataset {shlex.quote(str(report.path))} {request.words}".rstrip()
    return Outcome(report.to_dict(), [*rows, ("checks", checks)], command, drawn)


def _length(split: SplitReport, spec: FieldSpec) -> str:
    if spec.is_picture:
        return count(split.n_trajectories, "picture")
    shortest, longest = split.n_steps
    frames = str(shortest) if shortest == longest else f"{shortest} to {longest}"
    return f"{split.n_trajectories} trajectories × {frames} frames"
