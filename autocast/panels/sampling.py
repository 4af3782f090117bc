"""Panels of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autocast.panels.words import count
from autocast.runs.job import Outcome

if TYPE_CHECKING:
    from autocast.runs.sampling import SampleRequest


def sampled(request: SampleRequest, files: list[Path]) -> Outcome:
    """The closing panel of samples."""
    n = count(request.n_samples, "frame")
    rows = [("grids", f"{n} each · {' and '.join(request.checkpoints)} · prior {request.prior} · seed {request.seed}")]
    rows += [("", str(file)) for file in files]
    summary = {"files": [str(file) for file in files], "checkpoints": [*request.checkpoints], "seed": request.seed}
    return Outcome(summary, rows, f"autocast eval --workdir {request.run.quoted}", files)
