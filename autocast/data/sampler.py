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
    `batch_size`, the one batch is as large as they allow). In order, the last batch may be smaller, and ranks that
    would get less than others repeat its last window.
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

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch_size if self.shuffle else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        for step in range(len(self)):
            yield self._share(order[step * self.batch_size : (step + 1) * self.batch_size])

    def order(self, epoch: int) -> np.ndarray:
        """All indices in the order of `epoch`: `(n,)`."""
        if not self.shuffle:
            return np.arange(self.n)
        return np.random.Generator(np.random.Philox(seed=[self.seed, epoch])).permutation(self.n)

    def _share(self, batch: np.ndarray) -> list[int]:
        missing = -len(batch) % self.world_size
        padded = np.concatenate((batch, batch[-1:].repeat(missing)))
        return padded[self.rank :: self.world_size].tolist()
