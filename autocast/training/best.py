# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""The best epoch so far, by `val/objective`; what is kept, logged and shown as best asks here."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

MONITOR = "val/objective"


class BestObjective(Callback):
    """Compares each validated epoch with the best one; its memory is part of the checkpoint."""

    def __init__(self) -> None:
        self.objective: float | None = None
        self.epoch: int | None = None
        """Epochs count from 1."""
        self.is_new = False
        """Whether the epoch that ends is the best so far."""
        self.validated_step = -1
        """Optimiser step of the latest validation."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.is_new = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated_step = trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.validated_step != trainer.global_step or MONITOR not in trainer.callback_metrics:
            return
        objective = float(trainer.callback_metrics[MONITOR])
        self.is_new = math.isfinite(objective) and (self.objective is None or objective < self.objective)
        if self.is_new:
            self.objective, self.epoch = objective, trainer.current_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        return {"objective": self.objective, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.objective, self.epoch = state_dict["objective"], state_dict["epoch"]
