"""The Well's HDF5 layout, read through handles that stay open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autocast.data.handles import Handles
from autocast.data.headers import check_agreement
from autocast.data.trajectories import Trajectories
from autocast.data.well_header import WellField, WellHeader, naming_file, read_well_header


class WellTrajectories(Trajectories):
    """The trajectories of some files: file after file, each in its own order.

    Channels are in The Well's order: the scalar fields, then the components of vectors, then those of tensors.
    """

    def __init__(self, headers: Sequence[WellHeader], *, dataset: str = ""):
        for other in headers[1:]:
            check_agreement(headers[0], other)
        self.spec = headers[0].spec
        self.headers = tuple(headers)
        stored = (*headers[0].varying_fields, *headers[0].constant_fields)
        self.field_orders = tuple((field.name, field.order) for field in stored)
        self.dataset = dataset
        self._ends = np.cumsum([header.n_trajectories for header in headers])
        self.n_trajectories = int(self._ends[-1])
        self._handles = Handles()
        self._scalars: dict[Path, np.ndarray] = {}

    def n_steps(self, i: int) -> int:
        return self._locate(i)[0].n_steps

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        self.check_range(i, start, stop, stride)
        header, sample = self._locate(i)
        shape = (len(range(start, stop, stride)), *self.spec.grid_shape, self.spec.n_channels)
        out = np.empty(shape, np.float32)
        self._fill(out, header, header.varying_fields, sample, slice(start, stop, stride))
        return out

    def scalars(self, i: int) -> np.ndarray:
        header, sample = self._locate(i)
        if header.file not in self._scalars:
            self._scalars[header.file] = self._read_scalars(header)
        return self._scalars[header.file][sample]

    def constant_fields(self, i: int) -> np.ndarray | None:
        if not self.spec.n_constant_fields:
            return None
        header, sample = self._locate(i)
        out = np.empty((*self.spec.grid_shape, self.spec.n_constant_fields), np.float32)
        self._fill(out, header, header.constant_fields, sample, slice(None))
        return out

    def name(self, i: int) -> str:
        header, sample = self._locate(i)
        return f"{header.file}, trajectory {sample}"

    def _locate(self, i: int) -> tuple[WellHeader, int]:
        """The file that holds trajectory `i` and its index there."""
        file = int(np.searchsorted(self._ends, i, side="right"))
        return self.headers[file], i - (int(self._ends[file - 1]) if file else 0)

    def _fill(
        self, out: np.ndarray, header: WellHeader, fields: tuple[WellField, ...], sample: int, steps: slice
    ) -> None:
        channel = 0
        with naming_file(header.file, self.dataset):
            for field in fields:
                n_channels = field.n_channels(len(self.spec.grid_shape))
                out[..., channel : channel + n_channels] = self._read_field(header, field, sample, steps)
                channel += n_channels

    def _read_field(self, header: WellHeader, field: WellField, sample: int, steps: slice) -> np.ndarray:
        """`(T?, *S, k)`, with length 1 along the axes on which the field does not depend."""
        index = (sample,) * field.sample_varying + (steps,) * field.time_varying
        values = self._handles.dataset(header.file, field.key)[index or ...]
        grid = (n if varying else 1 for n, varying in zip(header.grid_shape, field.dim_varying, strict=True))
        return values.reshape(*values.shape[: int(field.time_varying)], *grid, -1)

    def _read_scalars(self, header: WellHeader) -> np.ndarray:
        """`(B, K)` of one file."""
        out = np.empty((header.n_trajectories, self.spec.n_scalars), np.float32)
        with naming_file(header.file, self.dataset):
            for k, name in enumerate(self.spec.scalar_names):
                out[:, k] = self._handles.dataset(header.file, f"scalars/{name}")[()]
        return out


def open_well_file(file: str | Path) -> WellTrajectories:
    """The trajectories of one HDF5 file, wherever it lies."""
    return WellTrajectories([read_well_header(Path(file))])
