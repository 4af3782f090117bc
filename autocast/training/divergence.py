# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Stops a run whose loss is no longer a number, before that reaches a checkpoint."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from autocast.errors import AutocastError
from autocast.training.agreement import Agreement


class DivergenceError(AutocastError):
    """The training loss became infinite or not a number."""


class DivergenceGuard(Callback):
    """Looks at every step's terms, but waits for the device only every few steps, at epoch ends and at checkpoints.

    All ranks then raise the same error, whichever of them saw it.

    Raises:
        DivergenceError: Naming the epoch, the optimiser step and the term.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._unchecked: list[tuple[int, dict[str, Tensor]]] = []
        """Optimiser steps and their terms since the last look."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._unchecked.append((trainer.global_step, outputs["terms"]))
        if len(self._unchecked) >= trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        values = [value for _, terms in self._unchecked for value in terms.values()]
        bad = bool(values) and not torch.stack(values).isfinite().all()
        (bad_somewhere,) = self.agreement.greatest(bad)
        if bad_somewhere:
            raise DivergenceError(self.agreement.first(self._message(trainer.current_epoch + 1) if bad else ""))
        self._unchecked.clear()

    def _message(self, epoch: int) -> str:
        bad = ((step, [k for k, v in terms.items() if not v.isfinite()]) for step, terms in self._unchecked)
        step, names = next((step, names) for step, names in bad if names)
        culprits = [name for name in names if name != "train/loss"] or names
        return (
            f"training diverged: {', '.join(culprits)} is not finite at epoch {epoch}, optimiser step {step}. "
            "The checkpoints are from before. Lower optimizer.learning_rate, raise "
            "optimizer.lr_scheduler.warmup_steps, or lower trainer.gradient_clip_val."
        )
