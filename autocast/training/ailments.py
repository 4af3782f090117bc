# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Says once that something is wrong with a training that goes on, and what to type; and when it is no longer so."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import Callback

from autocast.diagnosis import Run, diagnose
from autocast.training.checkpoints import OnEvent
from autocast.training.metrics_log import MetricsLog, Record
from autocast.training.progress import Display


class Ailments(Callback):
    """Looks at the metrics after every epoch. Comes after the log of metrics.

    What was said before follows from the earlier metrics, so a run that goes on does not say it again.

    Args:
        run: What is trained.
        log: Of the metrics.
        display: Gets a note.
        on_event: Gets "note" with the text.
    """

    def __init__(self, run: Run, log: MetricsLog, display: Display, on_event: OnEvent):
        self.run = run
        self.log_of_metrics = log
        self.display = display
        self.on_event = on_event
        self._records: list[Record] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._records = self.log_of_metrics.file.read()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        before = {finding.name for finding in diagnose(self._records, self.run)}
        self._records.append(self.log_of_metrics.record)
        found = {finding.name: finding for finding in diagnose(self._records, self.run)}
        for finding in found.values():
            if finding.name not in before:
                self._note(f"{finding.text}. Type: {finding.commands[0]}")
        for name in before - found.keys():
            self._note(f"{name}: no longer, as of epoch {trainer.current_epoch + 1}")

    def _note(self, text: str) -> None:
        self.display.line(f"note: {text}")
        self.on_event("note", {"text": text})
