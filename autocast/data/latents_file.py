"""Latents of one split in one HDF5 file: the frames of all trajectories, one after the other, and their lengths.

The file is laid out whole before it is filled, so one whose writer was killed is valid, with frames missing. HDF5 has
no bfloat16: its bits are stored as 16-bit integers, and the attribute `dtype` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import torch
from torch import Tensor

from autocast.data.handles import Handles
from autocast.data.trajectories import Trajectories
from autocast.data.well_header import open_for_reading
from autocast.errors import DataError
from autocast.types import FieldSpec

STORED: dict[str, type[np.generic]] = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
"""The type of the numbers in the file."""
FRAMES, LENGTHS, SCALARS, CONSTANT_FIELDS = "frames", "lengths", "scalars", "constant_fields"


def create_latents_file(file: Path, spec: FieldSpec, *, lengths: Sequence[int], dtype: str) -> None:
    """Lays out the file of trajectories of `lengths` frames that `spec` describes."""
    n = len(lengths)
    with h5py.File(file, "w", locking=False) as h:
        h.attrs["dtype"] = dtype
        h.create_dataset(LENGTHS, data=np.asarray(lengths, np.int64))
        _lay_out(h, FRAMES, (sum(lengths), *spec.grid_shape, spec.n_channels), STORED[dtype])
        if spec.n_scalars:
            _lay_out(h, SCALARS, (n, spec.n_scalars), np.float32)
        if spec.n_constant_fields:
            _lay_out(h, CONSTANT_FIELDS, (n, *spec.grid_shape, spec.n_constant_fields), np.float32)


class LatentsWriter:
    """Fills a file that `create_latents_file` laid out."""

    def __init__(self, file: Path):
        self.file = file
        self._h = h5py.File(file, "r+", locking=False)
        self._dtype: str = self._h.attrs["dtype"]
        self._offsets = np.concatenate(([0], np.cumsum(self._h[LENGTHS][()])))

    def write(self, i: int, frames: Tensor, start: int = 0) -> None:
        """Frames `start` ... of trajectory `i`: `(T, *S, C)`.

        Raises:
            DataError: A value is not finite, as stored.
        """
        stored = frames.to(getattr(torch, self._dtype)).cpu()
        if not torch.isfinite(stored).all():
            raise DataError(
                f"{self.file.stem} trajectory {i}: its latents from frame {start} on are not finite as {self._dtype}. "
                "Check the data with 'autocast data inspect', and the autoencoder; float32 and bfloat16 reach further "
                "than float16."
            )
        first = self._offsets[i] + start
        bits = stored.view(torch.int16).numpy().view(np.uint16) if self._dtype == "bfloat16" else stored.numpy()
        self._h[FRAMES][first : first + len(frames)] = bits

    def write_scalars(self, i: int, scalars: np.ndarray) -> None:
        """`(K,)`"""
        self._h[SCALARS][i] = scalars

    def write_constant_fields(self, i: int, fields: np.ndarray) -> None:
        """`(*S, Cc)` on the grid of the latents."""
        self._h[CONSTANT_FIELDS][i] = fields

    def flush(self) -> None:
        """Hands everything written so far to the operating system, where a killed process cannot lose it."""
        self._h.flush()

    def close(self) -> None:
        self._h.close()

    def __enter__(self) -> LatentsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LatentTrajectories(Trajectories):
    """The encoded trajectories of one split, read as float32 through a handle that stays open."""

    def __init__(self, file: Path, spec: FieldSpec):
        self.file = file
        self.spec = spec
        self.field_orders = tuple((name, 0) for name in (*spec.channel_names, *spec.constant_field_names))
        self._handles = Handles()
        with _naming(file), open_for_reading(file) as h:
            self._lengths = h[LENGTHS][()]
            self._is_bfloat16 = h.attrs["dtype"] == "bfloat16"
        self._offsets = np.concatenate(([0], np.cumsum(self._lengths)))
        self.n_trajectories = len(self._lengths)

    def n_steps(self, i: int) -> int:
        return int(self._lengths[i])

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        self.check_range(i, start, stop, stride)
        first = int(self._offsets[i])
        stored = self._read(FRAMES, slice(first + start, first + stop, stride))
        return _widen(stored) if self._is_bfloat16 else stored.astype(np.float32, copy=False)

    def scalars(self, i: int) -> np.ndarray:
        return self._read(SCALARS, i) if self.spec.n_scalars else np.empty(0, np.float32)

    def constant_fields(self, i: int) -> np.ndarray | None:
        return self._read(CONSTANT_FIELDS, i) if self.spec.n_constant_fields else None

    def name(self, i: int) -> str:
        return f"{self.file}, trajectory {i}"

    def _read(self, key: str, index: int | slice) -> np.ndarray:
        with _naming(self.file):
            return self._handles.dataset(self.file, key)[index]


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turns what h5py raises for a damaged or missing file into a message that names the file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"latents {file}: missing, damaged or not of a cache ({error}). "
            f"Delete {file.parent} and run 'autocast cache-latents' again."
        ) from error


def _widen(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 as float32: it is the upper half of one."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _lay_out(h: h5py.File, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """An array in one piece, with its place in the file from the start."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h.create_dataset(name, shape, dtype, dcpl=layout)
