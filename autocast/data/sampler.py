"""The order of the data: a pure function of the seed and the epoch, the same for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[int]]):
    """Lists of indices, one per step. `batch_size` is that of the global batch, whatever the number of ranks.

    Row `i` of the global batch goes to rank `i % world_size`, where it is row `i // world_size`. All ranks get equally
    many rows of every batch, so `world_size` must divide `batch_size`.

    Shuffled, an epoch leaves out the windows that do not fill a batch, other ones every time (with fewer windows than
    `batch_size`, the one batch is as large as they allow). In order, the last batch may be smaller; a rank for which
    nothing is left of it gets its last window as a stand-in, so that all ranks take equally many steps.
    """

    def __init__(
        self, n: int, *, seed: int = 0, batch_size: int, rank: int = 0, world_size: int = 1, shuffle: bool = True
    ):
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} must be a multiple of the {world_size} ranks")
        self.n = n
        self.seed = seed
        self.batch_size = max(min(batch_size, n - n % world_size), world_size) if shuffle else batch_size
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.epoch = 0
        self._resumed = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def start_at(self, epoch: int, batch: int) -> None:
        """Leaves out the batches of `epoch` before `batch`, and no others; `len` still counts whole epochs."""
        self.epoch = epoch
        self._resumed = (epoch, batch)

    def __len__(self) -> int:
        return self.n // self.batch_size if self.shuffle else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order, (resumed_epoch, batch) = self.order(self.epoch), self._resumed
        for step in range(batch if self.epoch == resumed_epoch else 0, len(self)):
            yield self._share(order[step * self.batch_size : (step + 1) * self.batch_size])

    def is_stand_in(self, step: int) -> bool:
        """Whether this rank's part of a batch belongs to another rank as well, and must not count twice."""
        return min(self.n - step * self.batch_size, self.batch_size) <= self.rank

    def order(self, epoch: int) -> np.ndarray:
        """All indices in the order of `epoch`: `(n,)`."""
        if not self.shuffle:
            return np.arange(self.n)
        return np.random.Generator(np.random.Philox(seed=[self.seed, epoch])).permutation(self.n)

    def _share(self, batch: np.ndarray) -> list[int]:
        share = batch[self.rank :: self.world_size]
        return (share if len(share) else batch[-1:]).tolist()
