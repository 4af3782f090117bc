"""Counted randomness: every row of a batch has its own stream, named by integers.

What is drawn for a row depends on its key and on what was drawn for it before, never on the other rows, on the size of
the batch or on the order of work. So a restarted run, a run on more devices and an evaluation in other batches see the
same noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class Noise:
    """One stream of random numbers per row, keyed `(seed, purpose, step, i)` or `(seed, trajectory, member)`, say.

    Numbers are drawn in single precision on the device of `like` and then take its type, so a computation in another
    precision sees the same noise. Devices of different kinds have different streams. Torch's generator on the CPU
    keeps 32 bits of the hashed key, so among a hundred thousand rows a pair may share a stream.
    """

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        self._keys = [tuple(key) for key in keys]
        self._generators: dict[torch.device, list[torch.Generator]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def split(self, size: int) -> list[Noise]:
        """The streams of the rows, from their starts, in groups of at most `size` rows."""
        return [Noise(self._keys[first : first + size]) for first in range(0, len(self._keys), size)]

    def normal(self, *shape: int, like: Tensor) -> Float[Tensor, "b ..."]:
        """Standard normal numbers `(B, *shape)`."""
        return self._draw(torch.Tensor.normal_, shape, like)

    def uniform(self, *shape: int, like: Tensor) -> Float[Tensor, "b ..."]:
        """Numbers `(B, *shape)` uniform in [0, 1)."""
        return self._draw(torch.Tensor.uniform_, shape, like)

    def _draw(self, fill: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
        numbers = torch.empty(len(self._keys), *shape, device=like.device)
        for row, generator in zip(numbers.unbind(0), self._streams(like.device), strict=True):
            fill(row, generator=generator)
        return numbers.to(like.dtype)

    def _streams(self, device: torch.device) -> list[torch.Generator]:
        if device not in self._generators:
            self._generators[device] = [torch.Generator(device).manual_seed(_seed(key)) for key in self._keys]
        return self._generators[device]


def _seed(key: tuple[int, ...]) -> int:
    """A hash of the key that is the same in every process and version."""
    text = ",".join(str(int(number)) for number in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
