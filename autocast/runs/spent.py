"""How long the trainings took that a model is made of."""

from __future__ import annotations

from pathlib import Path

from autocast.runs.directory import TRAIN, RunDirectory
from autocast.runs.metrics import epoch_records

AUTOENCODER = "autoencoder_checkpoint"


def training_seconds(run: RunDirectory, kind: str) -> dict[str, float]:
    """Seconds by kind: of the training of a kind over all its attempts, and of the autoencoder that it stands on.

    What left no record is missing.
    """
    seconds = {kind: _seconds(run, kind)}
    for parent in run.run_record(kind, TRAIN)["parents"] if run.run_file(kind, TRAIN).is_file() else ():
        if parent["role"] == AUTOENCODER and parent["run"]:
            seconds["ae"] = _seconds(RunDirectory(Path(parent["run"])), "ae")
    return {kind: found for kind, found in seconds.items() if found is not None}


def _seconds(run: RunDirectory, kind: str) -> float | None:
    """The sum over epochs."""
    file = run.metrics_file(kind)
    return sum(record["seconds"] for record in epoch_records(file)) if file.is_file() else None
