"""A callback of a user's own: writes what every optimiser step saw, and can hold a training back.

It lies outside the package, so a run that uses it sets `AUTOCAST_TARGETS=tracing` and puts its folder on `PYTHONPATH`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Trace(Callback):
    """Appends one line per optimiser step and rank to `<file>.<rank>`.

    Args:
        file: Beginning of the files' names.
        slow: While this file is there, each step takes `seconds` longer.
        seconds: See `slow`.
        fail_at: Raise an error at this step.
        exit_at: End the process at this step with code 0, as if all were well.
    """

    def __init__(
        self, file: str, slow: str = "", seconds: float = 0.2, fail_at: int | None = None, exit_at: int | None = None
    ):
        self.file = file
        self.slow = slow
        self.seconds = seconds
        self.fail_at = fail_at
        self.exit_at = exit_at

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        windows = sorted(zip(batch.trajectory.tolist(), batch.start.tolist(), strict=True))
        line = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "windows": windows,
            "loss": float(outputs["loss"]),
            "job": os.environ.get("SLURM_JOB_ID"),
            "restarts": os.environ.get("SLURM_RESTART_COUNT", "0"),
        }
        with Path(f"{self.file}.{trainer.global_rank}").open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if trainer.global_step == self.fail_at:
            raise RuntimeError("the trace was told to fail here")
        if trainer.global_step == self.exit_at:
            os._exit(0)
        if self.slow and Path(self.slow).exists():
            time.sleep(self.seconds)
