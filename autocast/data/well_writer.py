"""Writes The Well's HDF5 layout: the whole file is laid out first, then filled trajectory by trajectory.

Every byte of the file has its place before the first field is written (early allocation, no compression). So the file
does not depend on the order of writing, and one whose writer was killed is still a valid file with frames missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from autocast.errors import DataError
from autocast.types import PERIODIC, FieldSpec

CHUNK_BYTES = 16384
"""A chunk holds one frame, or as many small frames as fit: short random windows then read little beside themselves."""


class WellWriter:
    """Fills a file that `create_well_file` laid out; arrays are given channels-last."""

    def __init__(self, file: Path, spec: FieldSpec):
        self.file = file
        self.spec = spec
        self._h = h5py.File(file, "r+", locking=False)

    def write(self, i: int, fields: np.ndarray, start: int = 0) -> None:
        """Frames `start` ... of trajectory `i`: `(T, *S, C)`."""
        for c, name in enumerate(self.spec.channel_names):
            self._h["t0_fields"][name][i, start : start + len(fields)] = fields[..., c]

    def write_scalars(self, i: int, scalars: Sequence[float] | np.ndarray) -> None:
        """`(K,)`"""
        for name, value in zip(self.spec.scalar_names, scalars, strict=True):
            self._h["scalars"][name][i] = value

    def write_constant_fields(self, i: int, fields: np.ndarray) -> None:
        """`(*S, Cc)`"""
        for c, name in enumerate(self.spec.constant_field_names):
            self._h["t0_fields"][name][i] = fields[..., c]

    def flush(self) -> None:
        """Hands everything written so far to the operating system, where a killed process cannot lose it."""
        self._h.flush()

    def close(self) -> None:
        self._h.close()

    def __enter__(self) -> WellWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def well_file(
    file: str | Path,
    spec: FieldSpec,
    *,
    n_trajectories: int,
    n_steps: int,
    parameters: Mapping[str, float] | None = None,
) -> Iterator[WellWriter]:
    """A writer of `file`, which appears under its name when all is written and not at all where something failed."""
    file = Path(file)
    partial = file.with_name(f"{file.name}.partial-{os.getpid()}")
    try:
        create_well_file(partial, spec, n_trajectories=n_trajectories, n_steps=n_steps, parameters=parameters)
        with WellWriter(partial, spec) as writer:
            yield writer
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def create_well_file(
    file: Path, spec: FieldSpec, *, n_trajectories: int, n_steps: int, parameters: Mapping[str, float] | None = None
) -> None:
    """Lays out `file` for `n_trajectories` of `n_steps` frames; `parameters` hold for all of them alike."""
    _check_names(spec)
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", locking=False) as h:
        _write_root(h, spec, n_trajectories, parameters or {})
        _write_dimensions(h, spec, n_steps)
        _write_boundary_conditions(h, spec)
        _create_scalars(h, spec, n_trajectories)
        _create_fields(h, spec, n_trajectories, n_steps)


def _check_names(spec: FieldSpec) -> None:
    names = (*spec.channel_names, *spec.constant_field_names)
    if len(set(names)) < len(names) or any("/" in name or not name for name in (*names, *spec.scalar_names)):
        raise DataError(f"data set {spec.dataset_name}: field names {names} must be unique, not empty and without '/'.")


def _write_root(h: h5py.File, spec: FieldSpec, n_trajectories: int, parameters: Mapping[str, float]) -> None:
    h.attrs["dataset_name"] = spec.dataset_name
    h.attrs["grid_type"] = "cartesian"
    h.attrs["n_spatial_dims"] = spec.n_spatial_dims
    h.attrs["n_trajectories"] = n_trajectories
    h.attrs["simulation_parameters"] = _strings(parameters)
    for name, value in parameters.items():
        h.attrs[name] = float(value)


def _write_dimensions(h: h5py.File, spec: FieldSpec, n_steps: int) -> None:
    group = h.create_group("dimensions")
    group.attrs["spatial_dims"] = _strings(spec.dim_names)
    time = group.create_dataset("time", data=(np.arange(n_steps) * spec.time_step).astype(np.float32))
    _set_varying(time, sample=False, time=True)
    time.attrs["time_step"] = spec.time_step  # not in The Well's layout: what float32 coordinates cannot hold
    for axis, n, extent, kind in zip(spec.dim_names, spec.grid_shape, spec.extent, spec.boundary, strict=True):
        x = np.linspace(0, extent, n, endpoint=kind != PERIODIC, dtype=np.float32)
        coordinate = group.create_dataset(axis, data=x)
        _set_varying(coordinate, sample=False, time=False)
        coordinate.attrs["extent"] = extent


def _write_boundary_conditions(h: h5py.File, spec: FieldSpec) -> None:
    conditions = h.create_group("boundary_conditions")
    for axis, n, kind in zip(spec.dim_names, spec.grid_shape, spec.boundary, strict=True):
        group = conditions.create_group(f"{axis}_{kind}")
        group.attrs["associated_dims"] = _strings([axis])
        group.attrs["associated_fields"] = _strings([])
        group.attrs["bc_type"] = kind.upper()
        _set_varying(group, sample=False, time=False)
        mask = np.zeros(n, bool)
        mask[[0, -1]] = True
        group.create_dataset("mask", data=mask)


def _create_scalars(h: h5py.File, spec: FieldSpec, n_trajectories: int) -> None:
    group = h.create_group("scalars")
    group.attrs["field_names"] = _strings(spec.scalar_names)
    for name in spec.scalar_names:
        scalar = group.create_dataset(name, data=np.zeros(n_trajectories, np.float32))
        _set_varying(scalar, sample=True, time=False)


def _create_fields(h: h5py.File, spec: FieldSpec, n_trajectories: int, n_steps: int) -> None:
    group = h.create_group("t0_fields")
    group.attrs["field_names"] = _strings((*spec.channel_names, *spec.constant_field_names))
    for name, unit in zip(spec.channel_names, spec.units, strict=True):
        shape = (n_trajectories, n_steps, *spec.grid_shape)
        frame_bytes = 4 * int(np.prod(spec.grid_shape))
        n_frames = min(max(1, CHUNK_BYTES // frame_bytes), n_steps)
        _create_field(group, name, shape, (1, n_frames, *spec.grid_shape), time_varying=True, unit=unit)
    for name in spec.constant_field_names:
        shape = (n_trajectories, *spec.grid_shape)
        _create_field(group, name, shape, (1, *spec.grid_shape), time_varying=False, unit="")
    for order in (1, 2):
        h.create_group(f"t{order}_fields").attrs["field_names"] = _strings([])


def _create_field(
    group: h5py.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], *, time_varying: bool, unit: str
) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    field = group.create_dataset(name, shape, np.float32, chunks=chunks, dcpl=layout)
    n_spatial_dims = len(shape) - 1 - time_varying
    field.attrs["dim_varying"] = np.ones(n_spatial_dims, bool)
    field.attrs["units"] = unit
    _set_varying(field, sample=True, time=time_varying)


def _set_varying(item: h5py.Dataset | h5py.Group, *, sample: bool, time: bool) -> None:
    item.attrs["sample_varying"] = sample
    item.attrs["time_varying"] = time


def _strings(values: Sequence[str] | Mapping[str, float]) -> np.ndarray:
    return np.array(list(values), dtype=h5py.string_dtype())
