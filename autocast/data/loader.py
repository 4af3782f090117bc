"""Loaders of whole batches: their workers outlive the signals of a scheduler, and training's place can be saved."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch.utils.data import DataLoader, Dataset

from autocast.data.sampler import EpochSampler
from autocast.signals import children_shielded, obey_parent_only
from autocast.types import Batch


class BatchLoader(DataLoader[Batch]):
    """Batches that a data set reads at once, by the indices that an `EpochSampler` gives."""

    sampler: EpochSampler

    @classmethod
    def over(cls, batches: Dataset[Batch], sampler: EpochSampler, n_workers: int = 0) -> Self:
        """
        Args:
            batches: Its item of a list of indices is a whole `Batch`: nothing to collate.
            sampler: The order.
            n_workers: Processes that read ahead; none reads in this process.
        """
        return cls(
            batches,
            batch_size=None,
            sampler=sampler,
            num_workers=n_workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=n_workers > 0,
            worker_init_fn=_obey_parent_only if n_workers else None,
        )

    def __iter__(self) -> Any:
        """Workers start in here. One that a scheduler's signal ends would take the training down with it."""
        with children_shielded():
            return super().__iter__()


class TrainLoader(BatchLoader):
    """Its state is the place of the training in the data, not that of the reading, which is ahead of it."""

    _position = (0, 0)

    def trained(self, epoch: int, batches: int) -> None:
        """Tells that `batches` of `epoch` are behind the weights."""
        self._position = (epoch, batches)

    def state_dict(self) -> dict[str, Any]:
        epoch, batches = self._position
        return {"epoch": epoch, "batches": batches, "batch_size": self.sampler.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Before iterating: workers begin to read at once, and know only then from where."""
        self._position = (state_dict["epoch"], state_dict["batches"])
        self.sampler.start_at(*self._position)


def _as_it_is(batch: Any) -> Any:
    return batch


def _obey_parent_only(worker: int) -> None:  # noqa: ARG001
    obey_parent_only()
