# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Checkpoints that survive a kill at any moment: written whole or not at all, the last two kept, the best one found."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from autocast.errors import AutocastError, CheckpointError
from autocast.signals import REASONS, StoppedError, StopRequest
from autocast.training.agreement import Agreement
from autocast.training.best import BestObjective
from autocast.training.continued import ends_epoch, run_of_checkpoint
from autocast.training.sharded_checkpoints import (
    DAMAGED,
    check_shards,
    link_or_copy,
    link_tree,
    read_shards,
    remove,
    rename,
)

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class CheckpointSettings:
    """When to keep a checkpoint beside `last`, `previous` and `best`, which every epoch's end writes."""

    every_n_epochs: int | None = 10
    """Keep `epoch-<n>.ckpt` for good; None never does."""
    every_n_minutes: float | None = 10.0
    """Write `last` within long epochs as well; None never does."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, to the disk, and renames: the target is always a whole file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        rename(partial, path)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Also of a directory, which a sharded training has written."""
        return read_shards(Path(path)) if Path(path).is_dir() else super().load_checkpoint(path, *args, **options)


class Checkpoints(Checkpoint):
    """Keeps `last`, `previous`, `best-<epoch>` and every n-th `epoch-<epoch>` in a directory, and the run's main file.

    The main file, `<kind>.ckpt`, is the best one; before the first validation it is the last one. All names are hard
    links to one write where the file system has them; where a sharded training writes directories, the main file is put
    together from one. Lightning runs this callback after all others, so that the averaged weights and the best
    objective in the checkpoint are those of the step that was just made.

    All ranks save and stop together: at every step's end they agree on it.

    Args:
        directory: Of the checkpoints.
        main_file: `<kind>.ckpt`
        settings: What to keep beside the last and the best.
        best: Knows the best epoch.
        stop: Once any rank is asked, the running step is finished and saved, and training stops.
        agreement: Of the ranks.
        on_event: Gets "checkpoint" with the file, the epochs done, the step and whether it is the best.
    """

    def __init__(
        self,
        directory: Path,
        main_file: Path,
        *,
        settings: CheckpointSettings,
        best: BestObjective,
        stop: StopRequest,
        agreement: Agreement,
        on_event: OnEvent,
    ):
        self.directory = directory
        self.main_file = main_file
        self.settings = settings
        self.best = best
        self.stop = stop
        self.agreement = agreement
        self.on_event = on_event
        self._last_is_whole = False
        self._at_boundary = False
        self._reason: str | None = None
        """Why all ranks are to stop."""
        self._saved_at = time.monotonic()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Here rather than where training starts, which a finished run never does."""
        if trainer.is_global_zero:
            self._restore_best(Path(str(trainer.ckpt_path)), checkpoint)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stop.reinstall()  # Lightning (2.6) has just put its own handler of SIGTERM in place, which exits with 0
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._last_is_whole = trainer.global_step > 0 and damage_of(self.directory / LAST) is None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._at_boundary = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves between two optimiser steps; after an epoch's last step its end does."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._at_boundary = stepped and not trainer.is_last_batch
        if not self._at_boundary:
            return
        late = self._agree()
        if late or self._reason:
            self._save(trainer, epochs_done=trainer.current_epoch)
        self._leave_if_asked(trainer, pl_module, epochs_done=trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at_boundary = False
        epoch = trainer.current_epoch + 1
        self._agree()
        self._save(trainer, epochs_done=epoch)
        if trainer.is_global_zero and self.best.is_new:
            self._keep_best(self.directory / LAST, epoch)
        every = self.settings.every_n_epochs
        if trainer.is_global_zero and every and epoch % every == 0:
            link(self.directory / LAST, self.directory / f"epoch-{epoch:04}.ckpt")
        self._leave_if_asked(trainer, pl_module, epochs_done=epoch)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keeps the steps since the last checkpoint where the state is that of a whole step.

        Not with several processes: the others may not have failed, and would never join in saving.
        """
        saved_or_bad = isinstance(exception, StoppedError | AutocastError)
        if self._at_boundary and trainer.training and trainer.world_size == 1 and not saved_or_bad:
            self._save(trainer, epochs_done=trainer.current_epoch)

    def _agree(self) -> bool:
        """All ranks learn whether one of them is asked to stop, and whether one has worked for long enough."""
        minutes, limit = (time.monotonic() - self._saved_at) / 60, self.settings.every_n_minutes
        strength, late = self.agreement.greatest(self.stop.strength, limit is not None and minutes >= limit)
        self.stop.raise_to(strength)
        self._reason = REASONS[strength - 1] if strength else None
        return bool(late)

    def _leave_if_asked(self, trainer: L.Trainer, pl_module: Any, *, epochs_done: int) -> None:
        if self._reason and not _ends_here(trainer, pl_module, epochs_done):
            raise StoppedError(self._reason, epochs_done, trainer.global_step)

    def _save(self, trainer: L.Trainer, *, epochs_done: int) -> None:
        last = self.directory / LAST
        if trainer.is_global_zero and self._last_is_whole:
            link(last, self.directory / PREVIOUS)
        trainer.save_checkpoint(last)
        self._last_is_whole = True
        self._saved_at = time.monotonic()
        if not trainer.is_global_zero:
            return
        if self.best.epoch is None or not self.main_file.exists():
            publish(last, self.main_file)
        fields = {"file": str(last), "epoch": epochs_done, "step": trainer.global_step, "is_best": self.best.is_new}
        self.on_event("checkpoint", fields)

    def _restore_best(self, resumed_from: Path, checkpoint: dict[str, Any]) -> None:
        """The best of the checkpoint resumed from is the best here, in the run itself and in another directory.

        A kill may have come before the best got its name: then it is the checkpoint itself. A best that is lost, or
        lies in the checkpoint's future, cannot stand for it: then the main file is what is resumed from.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        epoch = checkpoint["callbacks"][self.best.state_key]["epoch"]
        found = resumed_from.with_name(_best_name(epoch))
        if run_of_checkpoint(resumed_from) is not None and found.exists():
            self._keep_best(found, epoch)
        elif ends_epoch(checkpoint, epoch):
            self._keep_best(resumed_from, epoch)
        else:
            publish(resumed_from, self.main_file)

    def _keep_best(self, source: Path, epoch: int) -> None:
        best = self.directory / _best_name(epoch)
        link(source, best)
        publish(best, self.main_file)
        for other in self.directory.glob("best-*.ckpt"):
            if other != best:
                remove(other)


def _ends_here(trainer: L.Trainer, pl_module: Any, epochs_done: int) -> bool:
    """Whether the training ends by itself, at a limit or early: then there is nothing left to stop."""
    if epochs_done == trainer.max_epochs or trainer.global_step >= pl_module.max_steps:
        return True
    long_enough = epochs_done >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
    return trainer.should_stop and long_enough


def _best_name(epoch: int | None) -> str:
    return f"best-{epoch or 0:04}.ckpt"


def newest_valid(directory: Path) -> Path:
    """`last.ckpt`, or `previous.ckpt` where the last one is damaged.

    Raises:
        CheckpointError: If neither can be read; the message says what is wrong with each.
    """
    damages = {}
    for name in (LAST, PREVIOUS):
        damage = damage_of(directory / name)
        if damage is None:
            return directory / name
        damages[name] = damage
    found = "; ".join(f"{name} {damage}" for name, damage in damages.items())
    raise CheckpointError(f"{directory}: no checkpoint to continue from ({found}). Start again with --overwrite.")


def damage_of(file: Path) -> str | None:
    """What is wrong with a checkpoint, read whole; None if nothing is."""
    if not file.exists():
        return "is not there"
    try:
        if file.is_dir():
            damaged = check_shards(file)
            return damaged and f"is damaged in {damaged}"
        with zipfile.ZipFile(file) as archive:
            if (member := archive.testzip()) is not None:
                return f"is damaged in {member}"
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except DAMAGED as error:
        return f"is cut short or damaged ({str(error).splitlines()[0]})"
    return None


def link(source: Path, target: Path) -> None:
    """Makes `target` another name of `source`, at once; a copy where the file system has no hard links."""
    partial = target.with_name(f".{target.name}.partial")
    remove(partial)
    make = link_tree if source.is_dir() else link_or_copy
    make(source, partial)
    rename(partial, target)
    remove(partial)  # renaming one name of a file onto another name of it does nothing


def publish(source: Path, main_file: Path) -> None:
    """Makes a checkpoint the main file, which is always one file."""
    if source.is_dir():
        AtomicCheckpointIO().save_checkpoint(read_shards(source), main_file)
    else:
        link(source, main_file)
