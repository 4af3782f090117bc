# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""A training that is bounded by wall-clock: its schedule ends where its time ends, over restarts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from autocast.training.agreement import Agreement

MARGIN = 1.5
"""So many times what came after earlier steps at most is kept for what comes after the last one."""
STEP, VALIDATION, ENDING = "step", "validation", "ending"


class Budget(Callback):
    """Stops a training in time for its last validation and checkpoint to end within the budget.

    Time counts from the start of each attempt's training. What earlier attempts used is in the checkpoint; what one
    that was killed used after its last checkpoint is not known.

    The length of the run is estimated anew at every step: at step $s$, after a share $p$ of the time, it is $s / p$. A
    schedule of that length is one of time, and is at its end when the time is. All ranks go by the slowest clock.

    Args:
        seconds: Of the whole run.
        agreement: Of the ranks.
        clock: Seconds since whenever.
    """

    def __init__(self, seconds: float, agreement: Agreement, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self.agreement = agreement
        self.clock = clock
        self.used = 0.0
        """Seconds of the run, when a step began last."""
        self._before = 0.0
        self._started: float | None = None
        self._since: dict[str, float] = {}
        self._longest = {STEP: 0.0, VALIDATION: 0.0, ENDING: 0.0}
        """Seconds that a step, a validation, and the end of an epoch took at most."""
        self._n_validated = 0
        self._is_first = True
        """Of an attempt, the step that also compiles and sets up libraries: no later one is as long."""

    @property
    def reserve(self) -> float:
        """Seconds that are kept for what comes after the last step."""
        longest = dict(self._longest)
        longest[VALIDATION] = longest[VALIDATION] or self._n_validated * longest[STEP]
        return min(MARGIN * sum(longest.values()), self.seconds)

    @property
    def share(self) -> float:
        """Of the time for steps, what is used: 0 to 1."""
        time_for_steps = self.seconds - self.reserve
        return min(self.used / time_for_steps, 1.0) if time_for_steps > 0 else 1.0

    def total_steps(self, step: int) -> float:
        """Steps of the whole run, as they look at one of them; infinite at the first."""
        return step / self.share if step and self.share else math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"used": self._now(), "longest": dict(self._longest)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = self.used = state_dict["used"]
        self._longest.update(state_dict["longest"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self.clock()
        self._n_validated = int(sum(trainer.num_val_batches))
        self._look()
        if self.share >= 1:
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ends(ENDING)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._begins(STEP)
        self._look()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The rate is now that of the time when this batch began: at the end it is the last one."""
        if self._is_first:
            self._since.pop(STEP, None)
        self._is_first = False
        self._ends(STEP, trainer.accumulate_grad_batches)
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.share >= 1 and (stepped or trainer.is_last_batch):
            trainer.should_stop = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begins(VALIDATION)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ends(VALIDATION)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begins(ENDING)

    def _begins(self, what: str) -> None:
        self._since[what] = self.clock()

    def _ends(self, what: str, times: int = 1) -> None:
        if what in self._since:
            self._longest[what] = max(self._longest[what], times * (self.clock() - self._since.pop(what)))

    def _look(self) -> None:
        (microseconds,) = self.agreement.greatest(round(1e6 * self._now()))
        self.used = microseconds / 1e6

    def _now(self) -> float:
        return self._before + (0.0 if self._started is None else self.clock() - self._started)
