# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""What all ranks of a training must decide alike, or they wait for each other for ever."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback


class Agreement(Callback):
    """Ranks compare notes through main memory, without waiting for their GPUs. One rank alone sends no message."""

    def __init__(self) -> None:
        self._group: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._group = dist.new_group(backend="gloo") if trainer.world_size > 1 else None

    def greatest(self, *numbers: int) -> list[int]:
        """Each number's maximum over the ranks."""
        if self._group is None:
            return list(numbers)
        notes = torch.tensor(numbers)
        dist.all_reduce(notes, op=dist.ReduceOp.MAX, group=self._group)
        return notes.tolist()

    def first(self, text: str) -> str:
        """The text of the first rank that has one."""
        if self._group is None:
            return text
        texts = [""] * dist.get_world_size(self._group)
        dist.all_gather_object(texts, text, group=self._group)
        return next((text for text in texts if text), "")
