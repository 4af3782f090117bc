# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Stops a run whose loss is no longer a number, or has jumped, before that reaches a checkpoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from autocast.errors import AutocastError
from autocast.training.agreement import Agreement
from autocast.types import Batch

OBJECTIVE = "train/loss"
MEMORY, N_BEFORE = 0.98, 50
"""The usual loss is a running mean with this memory, after so many batches at least."""
N_WINDOWS = 8
"""Windows of a batch that a message names."""


class DivergenceError(AutocastError):
    """The training loss became infinite or not a number, or jumped."""


class _Look(NamedTuple):
    """What is known of a batch."""

    step: int
    terms: dict[str, Tensor]
    trajectory: Tensor | None
    start: Tensor | None

    @property
    def windows(self) -> str:
        """`trajectory 3 from frame 12, trajectory 7 from frame 0 and 30 more`; nothing where it does not know."""
        if self.trajectory is None or self.start is None:
            return ""
        pairs = list(zip(self.trajectory.tolist(), self.start.tolist(), strict=True))
        told = ", ".join(f"trajectory {i} from frame {start}" for i, start in pairs[:N_WINDOWS])
        return told + (f" and {len(pairs) - N_WINDOWS} more" if len(pairs) > N_WINDOWS else "")


class DivergenceGuard(Callback):
    """Looks at every batch's terms, but waits for the device only every few steps, at epoch ends and at checkpoints.

    All ranks then raise the same error, whichever of them saw it.

    Args:
        agreement: Of the ranks.
        max_spike: How many times its running mean the objective may be; None looks for numbers that are none only.

    Raises:
        DivergenceError: Naming the epoch, the optimiser step, the term and the windows of the batch.
    """

    def __init__(self, agreement: Agreement, max_spike: float | None = None) -> None:
        self.agreement = agreement
        self.max_spike = max_spike
        self._unchecked: list[_Look] = []
        """Batches since the last look."""
        self._bad: tuple[_Look, str] | None = None
        self._usual, self._n_seen = 0.0, 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if outputs:  # else it was skipped
            self._unchecked.append(_Look(outputs["step"], outputs["terms"], batch.trajectory, batch.start))
        if len(self._unchecked) >= trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._check(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer)

    def state_dict(self) -> dict[str, Any]:
        self._take_in()
        return {"usual": self._usual, "n_seen": self._n_seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._usual, self._n_seen = state_dict["usual"], state_dict["n_seen"]

    def _check(self, trainer: L.Trainer) -> None:
        self._take_in()
        (bad_somewhere,) = self.agreement.greatest(bool(self._bad))
        if bad_somewhere:
            message = self._message(trainer, *self._bad) if self._bad else ""
            raise DivergenceError(self.agreement.first(message))

    def _take_in(self) -> None:
        """Judges the batches since the last look; the device is asked once."""
        looks, self._unchecked = self._unchecked, []
        tensors = [value.float() for look in looks for value in look.terms.values()]
        values = iter(torch.stack(tensors).tolist() if tensors else [])
        for look in looks:
            numbers = {name: next(values) for name in look.terms}
            what = self._fault(numbers)
            if what and self._bad is None:
                self._bad = look, what
            self._n_seen += 1
            self._usual += (numbers[OBJECTIVE] - self._usual) * max(1 - MEMORY, 1 / self._n_seen)

    def _fault(self, numbers: dict[str, float]) -> str:
        """What is wrong with the terms of a batch; nothing where nothing is."""
        bad = [name for name, value in numbers.items() if not math.isfinite(value)]
        if bad:
            return f"{', '.join([name for name in bad if name != OBJECTIVE] or bad)} is not finite"
        loss = numbers[OBJECTIVE]
        if self.max_spike and self._n_seen >= N_BEFORE and loss > self.max_spike * self._usual > 0:
            return f"{OBJECTIVE} is {loss:.3g}, and was {self._usual:.3g} before"
        return ""

    @staticmethod
    def _message(trainer: L.Trainer, look: _Look, what: str) -> str:
        module: Any = trainer.lightning_module
        windows = f" ({look.windows})" if look.windows else ""
        skipped = ",".join(map(str, sorted({*module.skip_steps, look.step})))
        return (
            f"training diverged: {what} at epoch {trainer.current_epoch + 1}, optimiser step {look.step}{windows}. "
            f"The checkpoints are from before. Go on without this batch: --resume-from with "
            f"trainer.skip_steps=[{skipped}]; or with a lower optimizer.learning_rate. In a new run a longer "
            "optimizer.lr_scheduler.warmup_steps or a lower trainer.gradient_clip_val may help."
        )
