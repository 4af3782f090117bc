# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Says where a resumed run goes on, and what becomes of its learning rate."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from autocast.training.checkpoints import OnEvent
from autocast.training.progress import Display


class ResumeNotice(Callback):
    """The first line of a resumed training.

    Args:
        display: Where it is printed.
        on_event: Gets "resumed" with the file, the epoch and the step, and "note" if the schedule has another length.
    """

    def __init__(self, display: Display, on_event: OnEvent):
        self.display = display
        self.on_event = on_event
        self._steps_before: float | None = None
        self._rate_before = 0.0

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._steps_before = checkpoint["autocast"]["total_steps"]
        self._rate_before = float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.ckpt_path is None or not trainer.is_global_zero:
            return
        epoch, step = trainer.current_epoch + 1, trainer.global_step
        of = "" if trainer.max_epochs in (None, -1) else f" of {trainer.max_epochs}"
        self.display.line(f"resumed from {trainer.ckpt_path}: epoch {epoch}{of}, after step {step:,}")
        self.on_event("resumed", {"file": str(trainer.ckpt_path), "epoch": epoch, "step": step})
        if self._steps_before is not None and self._steps_before != pl_module.planned_steps:
            self._announce_stretched_schedule(pl_module)

    def _announce_stretched_schedule(self, pl_module: Any) -> None:
        steps, before = pl_module.planned_steps, self._steps_before
        text = (
            f"the learning-rate schedule now spans {steps:,} steps instead of {before:,}: the rate goes on from where "
            f"the longer schedule is, not from {self._rate_before:.3g}"
        )
        self.display.line(f"note: {text}")
        self.on_event("note", {"text": text})
