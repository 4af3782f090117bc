"""A data set as training and evaluation use it: header, statistics, normalisers, and loaders of whole batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import lightning.pytorch as L
import numpy as np
import torch

from autocast.data.headers import DatasetHeader, describe
from autocast.data.loader import BatchLoader, TrainLoader
from autocast.data.normaliser import MINMAX, NORMALISATIONS, Limits, Normaliser, fit_normaliser
from autocast.data.picture_sets import picture_size
from autocast.data.sampler import EpochSampler
from autocast.data.splits import open_split
from autocast.data.statistics import Statistics, compute_statistics, scalar_statistics
from autocast.data.stats_file import training_statistics
from autocast.data.subsets import check_subset, draw_subset
from autocast.data.trajectories import Trajectories
from autocast.data.windows import Steps, WindowDataset
from autocast.errors import ConfigError, DataError
from autocast.generative.noise import Noise
from autocast.types import Batch, FieldSpec

AUTO, DISK, RAM, DEVICE = PLACEMENTS = ("auto", "disk", "ram", "device")
DEVICE_SHARE = 0.1
"""Of a GPU's free memory, for a split that "auto" puts there; there may be three."""
Augmentation = Callable[[Batch, Noise], Batch]
Loader = TypeVar("Loader", bound=BatchLoader)


class FieldDataModule(L.LightningDataModule):
    """Batches of windows in physical units, in The Well's or any other known layout.

    Only the header is read when it is built; statistics and frames on first use.

    Args:
        data_path: Directory of the data set.
        n_steps_input: Ti, the steps that a model is given.
        n_steps_output: To, the steps that it forecasts at once; 0 for an autoencoder of single frames or pictures.
        batch_size: Windows in a global batch, that is of all ranks together.
        stride: Frames from one step of a window to the next.
        n_workers: Processes that read windows from disk. Splits in memory need none and get none.
        normalisation: "zscore", "rms", "minmax" (to -1 ... 1) or "none".
        augment: Makes the augmentation of training batches out of the data set's `FieldSpec`; see `augmentation`.
        seed: With the epoch it gives the order of the training windows.
        placement: Where the frames of a split are: on "disk", from which windows are read; in "ram"; on the "device",
            each one's own. "auto" chooses by size; without a GPU there is no other device than "ram".
        memory_limit: "auto" leaves a split of more GB (as float32) on disk.
        n_windows: Consecutive outputs that a model is compared with: training and validation batches have `n_windows *
            n_steps_output` output steps, those of "test" one output.
        size: Height and width that pictures are resized to, or one number for both; None leaves them as they are.
        column: Of lists of pictures, the one that is read; None is the target.
        subset: So many training trajectories, or such a share of them, drawn with the seed; a smaller subset is part of
            a larger one, and the other splits are the same for all.
    """

    batch_type: type[Batch] = Batch

    def __init__(  # noqa: PLR0913
        self,
        data_path: str | Path,
        *,
        n_steps_input: int = 1,
        n_steps_output: int = 1,
        batch_size: int = 32,
        stride: int = 1,
        n_workers: int = 0,
        normalisation: str = "zscore",
        augment: Callable[[FieldSpec], Augmentation] | None = None,
        seed: int = 42,
        placement: str = "auto",
        memory_limit: float = 2.0,
        n_windows: int = 1,
        size: int | Sequence[int] | None = None,
        column: str | None = None,
        subset: int | float | None = None,
    ):
        super().__init__()
        _check_positive(n_steps_input=n_steps_input, batch_size=batch_size, stride=stride, n_windows=n_windows)
        if n_steps_output < 0:
            raise ConfigError(f"datamodule.n_steps_output={n_steps_output}: must be at least 0.")
        check_subset(subset)
        if normalisation not in NORMALISATIONS:
            raise ConfigError(f"datamodule.normalisation={normalisation}: there are {', '.join(NORMALISATIONS)}.")
        if placement not in PLACEMENTS:
            raise ConfigError(f"datamodule.placement={placement}: there are {', '.join(PLACEMENTS)}.")
        self.header: DatasetHeader = describe(data_path, size=picture_size(size), column=column)
        self.steps = Steps(n_steps_input, n_steps_output, stride, n_windows)
        self.batch_size = batch_size
        self.n_workers = n_workers
        self.normalisation = normalisation
        self.seed = seed
        self.placement = placement
        self.memory_limit = memory_limit
        self.subset = subset
        self._augment = augment
        self._splits: dict[str, Trajectories] = {}
        self._whole_splits: dict[str, Trajectories] = {}
        self._windows: dict[str, WindowDataset] = {}

    @cached_property
    def spec(self) -> FieldSpec:
        return self.header.spec or self.split("train").spec

    @property
    def digest(self) -> str:
        return self.header.digest

    @property
    def n_steps_input(self) -> int:
        return self.steps.n_input

    @property
    def n_steps_output(self) -> int:
        return self.steps.n_output

    @property
    def notes(self) -> list[str]:
        """What a user may not expect of the data, without its being an error."""
        notes = [f"data set {self.header.path}: {note}" for note in self.header.notes]
        n = self.header.splits["train"].n_trajectories if "train" in self.header.splits else 0
        if isinstance(self.subset, int) and self.subset > n > 0:
            notes.append(f"datamodule.subset={self.subset}: there are {n} training trajectories, and all are used")
        return notes

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training split; of a subset they are computed, and no file is read or written."""
        train, whole = self.split("train"), self.whole_split("train")
        if train is not whole:
            return compute_statistics(train)
        return training_statistics(self.header, whole, with_range=self.normalisation == MINMAX)

    @cached_property
    def normaliser(self) -> Normaliser:
        found = self.statistics
        return fit_normaliser(self.normalisation, found.mean, found.std, limits=_limits(found.minimum, found.maximum))

    @cached_property
    def scalar_normaliser(self) -> Normaliser | None:
        """Of the scalars over the training trajectories; None where there are no scalars."""
        return fit_normaliser("zscore", *scalar_statistics(self.split("train"))) if self.spec.n_scalars else None

    @cached_property
    def constant_normaliser(self) -> Normaliser | None:
        if not self.spec.n_constant_fields:
            return None
        found = self.statistics
        limits = _limits(found.constant_minimum, found.constant_maximum)
        return fit_normaliser(self.normalisation, found.constant_mean, found.constant_std, limits=limits)

    @cached_property
    def augmentation(self) -> Augmentation | None:
        """To be applied to training batches on the device; the loaders give what is on disk."""
        return None if self._augment is None else self._augment(self.spec)

    def split(self, name: str) -> Trajectories:
        """Whole trajectories of "train", "valid" or "test"; those of the subset, of "train"."""
        if name not in self._splits:
            whole = self.whole_split(name)
            self._splits[name] = draw_subset(whole, self.subset, self.seed) if name == "train" else whole
        return self._splits[name]

    def whole_split(self, name: str) -> Trajectories:
        """All trajectories of a split, also those that a subset leaves out."""
        if name not in self._whole_splits:
            self._whole_splits[name] = open_split(self.header, name)
        return self._whole_splits[name]

    def windows(self, split: str) -> WindowDataset:
        if split not in self._windows:
            steps = dataclasses.replace(self.steps, n_windows=1) if split == "test" else self.steps
            self._windows[split] = WindowDataset(
                self.split(split), steps, in_memory=self.in_memory(split), batch_type=self.batch_type
            )
        return self._windows[split]

    def place(self, split: str = "train") -> str:
        """One of `PLACEMENTS`, but "auto"."""
        if self.placement != AUTO:
            return self.placement
        n_bytes, device = self.split(split).n_bytes, self._device()
        if n_bytes > self.memory_limit * 1e9:
            return DISK
        return DEVICE if n_bytes <= DEVICE_SHARE * _memory_of(device) else RAM

    def in_memory(self, split: str = "train") -> bool:
        return self.place(split) != DISK

    def train_dataloader(self) -> TrainLoader:
        """Batches in the order of the epoch; a checkpoint remembers the place in it."""
        windows = self.windows("train")
        rank, world_size = self._place()
        if len(windows) < world_size:
            raise DataError(f"data set {self.header.path}: {len(windows)} training windows for {world_size} devices.")
        sampler = self._sampler(windows, rank, world_size, shuffle=True)
        sampler.set_epoch(self._epoch())
        return self._load(TrainLoader, "train", sampler)

    def val_dataloader(self) -> BatchLoader:
        return self._in_order("valid")

    def test_dataloader(self) -> BatchLoader:
        return self._in_order("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device, non_blocking=True)

    def _in_order(self, split: str) -> BatchLoader:
        return self._load(BatchLoader, split, self._sampler(self.windows(split), *self._place(), shuffle=False))

    def _sampler(self, windows: WindowDataset, rank: int, world_size: int, *, shuffle: bool) -> EpochSampler:
        if self.batch_size % world_size:
            raise ConfigError(
                f"datamodule.batch_size={self.batch_size} must be a multiple of the {world_size} devices."
            )
        return EpochSampler(
            len(windows),
            seed=self.seed,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
            shuffle=shuffle,
        )

    def _load(self, kind: type[Loader], split: str, sampler: EpochSampler) -> Loader:
        windows, place = self.windows(split), self.place(split)
        if place == DEVICE:
            windows.move_to(self._device())
        return kind.over(windows, sampler, n_workers=self.n_workers if place == DISK else 0)

    def _place(self) -> tuple[int, int]:
        """Rank and number of ranks of the trainer, if there is one."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _device(self) -> torch.device:
        """Of this process; as long as there is no trainer, the host."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _epoch(self) -> int:
        """The epoch to be trained next: behind a checkpoint of an epoch's end `trainer.current_epoch` is still that."""
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]


def _memory_of(device: torch.device) -> int:
    """Bytes that a GPU has free; other devices have none of their own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _limits(minimum: np.ndarray | None, maximum: np.ndarray | None) -> Limits | None:
    return None if minimum is None or maximum is None else (minimum, maximum)


def _check_positive(**values: int) -> None:
    for key, value in values.items():
        if value < 1:
            raise ConfigError(f"datamodule.{key}={value}: must be at least 1.")
