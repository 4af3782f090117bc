"""What a checkpoint says of the run that it continues: how far that went, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHECKPOINTS_DIR = "checkpoints"
METRICS_FILE = "metrics.jsonl"


def epochs_done(checkpoint: dict[str, Any]) -> int:
    """Whole epochs behind a checkpoint, the one that it ends included."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def ends_epoch(checkpoint: dict[str, Any], epoch: int | None) -> bool:
    """Whether the checkpoint was written at the end of `epoch`, counted from 1, and not within the next one."""
    return epoch == epochs_done(checkpoint) == checkpoint["epoch"] + 1  # Lightning counts the running epoch from 0


def run_of_checkpoint(file: Path) -> Path | None:
    """The directory with the checkpoint's metrics; None for a file that does not lie where a training wrote it."""
    directory = file.absolute().parent
    found = directory.name == CHECKPOINTS_DIR and (directory.parent / METRICS_FILE).is_file()
    return directory.parent if found else None
