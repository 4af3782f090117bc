"""What an evaluation has done so far, on disk: one that was stopped or failed goes on behind its last batch.

A part holds what every stream has of the trajectories of one batch. It appears under its name when it is whole, and
knows its trajectories, so whoever goes on may cut the rest into other batches.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from autocast.data.headers import sha256_of

NUMBERS, IDENTITY = "numbers", "identity"

Arrays = dict[str, np.ndarray]


class Stream(Protocol):
    """Something that is told of windows, and can hand over what it has of some trajectories."""

    def take(self, numbers: Sequence[int]) -> Arrays:
        """All of these trajectories, which were seen to their ends in one batch."""

    def put(self, numbers: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """What `take` gave."""


class Parts:
    """The parts of one evaluation in a directory; those of any other are removed from it.

    Args:
        directory: Of parts alone.
        identity: All that the numbers depend on, in plain values.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any]):
        self.directory = directory
        digest = sha256_of(dict(identity))
        file = directory / IDENTITY
        if not file.is_file() or file.read_text() != digest:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            file.write_text(digest)

    @property
    def is_empty(self) -> bool:
        return next(self.directory.glob("*.npz"), None) is None

    def forget(self) -> None:
        for file in self.directory.glob("*.npz"):
            file.unlink()

    def restore(self, streams: Mapping[str, Stream], only: Sequence[Sequence[int]] | None = None) -> list[int]:
        """Puts all parts, or only those of these groups, into the streams; the numbers of their trajectories."""
        done: list[int] = []
        for part in self._read():
            numbers = part.pop(NUMBERS).tolist()
            if only is not None and numbers not in only:
                continue
            for name, stream in streams.items():
                own = {key.removeprefix(f"{name}/"): part[key] for key in part if key.startswith(f"{name}/")}
                stream.put(numbers, own)
            done += numbers
        return done

    def keep(self, numbers: Sequence[int], streams: Mapping[str, Stream]) -> None:
        """Writes what the streams have of these trajectories."""
        arrays: dict[str, Any] = {NUMBERS: np.asarray(numbers)}
        for name, stream in streams.items():
            arrays |= {f"{name}/{key}": array for key, array in stream.take(numbers).items()}
        file = self.directory / f"{min(numbers):08d}.npz"
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        with partial.open("wb") as out:
            np.savez(out, **arrays)
        partial.replace(file)

    def _read(self) -> Iterator[Arrays]:
        for file in sorted(self.directory.glob("*.npz")):
            with np.load(file) as arrays:
                yield dict(arrays)
