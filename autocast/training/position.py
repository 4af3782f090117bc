# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""How far the data are trained, so that a run stopped within an epoch goes on with the next batch."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from autocast.data.loader import TrainLoader


class DataPosition(Callback):
    """Counts batches that were trained: with workers, those that were fetched are ahead of them.

    The place after an epoch's last batch is the next epoch's start.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """The place is one in the samples: batches of another size, or otherwise accumulated, go on after it too."""
        loops = checkpoint["loops"]["fit_loop"]
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        for state in loops["state_dict"].get("combined_loader", []):
            if isinstance(loader, TrainLoader) and state["batches"]:
                batches = _batches_behind(state, loader, trainer.accumulate_grad_batches)
                state["batches"] = batches
                done = {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
                loops["epoch_loop.batch_progress"]["current"].update(done)  # as in the middle of `on_train_batch_end`

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:
            self._tell(trainer, trainer.current_epoch + 1, 0)
        else:
            self._tell(trainer, trainer.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch may end early, at a limit of steps or time."""
        self._tell(trainer, trainer.current_epoch + 1, 0)

    @staticmethod
    def _tell(trainer: L.Trainer, epoch: int, batches: int) -> None:
        loader = trainer.train_dataloader
        if isinstance(loader, TrainLoader):  # one's own data module may begin its epochs anew
            loader.trained(epoch, batches)


def _batches_behind(state: dict[str, Any], loader: TrainLoader, n_accumulated: int) -> int:
    """At least one batch is left, to end the epoch with."""
    batches = min(state["batches"] * state["batch_size"] // loader.sampler.batch_size, len(loader) - 1)
    return batches - batches % n_accumulated
