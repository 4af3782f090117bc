"""What one HDF5 file in The Well's layout says of itself: shapes, names, units and boundaries, without its fields.

References:
    | The Well: a Large-Scale Collection of Diverse Physics Simulations for Machine Learning (Ohana et al., 2024)
    | https://polymathic-ai.org/the_well/data_format/
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from autocast.errors import DataError
from autocast.types import OPEN, PERIODIC, WALL, FieldSpec


@dataclass(frozen=True)
class WellField:
    """One field as stored: of order 0 (a scalar), 1 (a vector) or 2 (a tensor with two axes)."""

    name: str
    order: int
    time_varying: bool
    sample_varying: bool
    dim_varying: tuple[bool, ...]
    """For each spatial axis whether the field is stored along it; along the others it is constant."""
    unit: str = ""

    @property
    def key(self) -> str:
        return f"t{self.order}_fields/{self.name}"

    def n_channels(self, n_spatial_dims: int) -> int:
        return n_spatial_dims**self.order

    def channel_names(self, dim_names: tuple[str, ...]) -> tuple[str, ...]:
        """`velocity_x, velocity_y`; the components of a tensor run xx, xy, yx, yy."""
        components = ("".join(dims) for dims in itertools.product(dim_names, repeat=self.order))
        return tuple(f"{self.name}_{dims}" if dims else self.name for dims in components)


@dataclass(frozen=True)
class WellHeader:
    """One file: `n_trajectories` of `n_steps` each, and the fields in the order of their channels."""

    file: Path
    dataset_name: str
    n_trajectories: int
    n_steps: int
    dim_names: tuple[str, ...]
    grid_shape: tuple[int, ...]
    extent: tuple[float, ...]
    boundary: tuple[str, ...]
    time_step: float
    fields: tuple[WellField, ...]
    scalar_names: tuple[str, ...]
    varying_scalar_names: tuple[str, ...]
    """Scalars that change in time. They are named in reports and never read."""

    @property
    def varying_fields(self) -> tuple[WellField, ...]:
        return tuple(field for field in self.fields if field.time_varying)

    @property
    def constant_fields(self) -> tuple[WellField, ...]:
        return tuple(field for field in self.fields if not field.time_varying)

    @property
    def spec(self) -> FieldSpec:
        varying, constant = self.varying_fields, self.constant_fields
        d = len(self.dim_names)
        return FieldSpec(
            dataset_name=self.dataset_name,
            channel_names=tuple(name for field in varying for name in field.channel_names(self.dim_names)),
            units=tuple(field.unit for field in varying for _ in range(field.n_channels(d))),
            dim_names=self.dim_names,
            grid_shape=self.grid_shape,
            extent=self.extent,
            boundary=self.boundary,
            time_step=self.time_step,
            scalar_names=self.scalar_names,
            constant_field_names=tuple(name for field in constant for name in field.channel_names(self.dim_names)),
        )


@contextmanager
def naming_file(file: Path, dataset: str = "") -> Iterator[None]:
    """Turns what h5py raises for a damaged file or a missing object into a message that names the file."""
    where = f"data set {dataset}: {file}" if dataset else str(file)
    remedy = "Copy the file again, or make it again with 'autocast data simulate'."
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{where}: there is no such file.") from error
    except KeyError as error:
        raise DataError(f"{where}: not in The Well's HDF5 layout: {error.args[0]}. {remedy}") from error
    except (OSError, RuntimeError) as error:
        raise DataError(f"{where}: damaged, or not an HDF5 file: {error}. {remedy}") from error


def open_for_reading(file: Path) -> h5py.File:
    """Without file locks, which hang or fail on some shared filesystems and protect nothing here."""
    return h5py.File(file, "r", locking=False)


def read_well_header(file: Path, *, dataset: str = "") -> WellHeader:
    """The header of `file`. Raises `DataError` where the file is damaged or its parts contradict each other."""
    with naming_file(file, dataset), open_for_reading(file) as h:
        stored = {_field(order, name, values): values for order in range(3) for name, values in _items(h, order)}
        header = _read(h, file, tuple(stored))
        for field, values in stored.items():
            _check_field(values, field, header, dataset)
    return header


def _read(h: h5py.File, file: Path, fields: tuple[WellField, ...]) -> WellHeader:
    dims, scalars = h["dimensions"], h["scalars"]
    dim_names = _strings(dims.attrs["spatial_dims"])
    coordinates = [dims[axis] for axis in dim_names]
    conditions = [_Condition.read(group) for group in h["boundary_conditions"].values()]
    boundary = tuple(_boundary(conditions, axis) for axis in dim_names)
    varies = {name: bool(scalars[name].attrs["time_varying"]) for name in _strings(scalars.attrs["field_names"])}
    return WellHeader(
        file=file,
        dataset_name=str(h.attrs["dataset_name"]),
        n_trajectories=int(h.attrs["n_trajectories"]),
        n_steps=int(dims["time"].shape[-1]),
        dim_names=dim_names,
        grid_shape=tuple(int(x.shape[-1]) for x in coordinates),
        extent=tuple(_extent(x, kind) for x, kind in zip(coordinates, boundary, strict=True)),
        boundary=boundary,
        time_step=_time_step(dims["time"]),
        fields=fields,
        scalar_names=tuple(name for name, varying in varies.items() if not varying),
        varying_scalar_names=tuple(name for name, varying in varies.items() if varying),
    )


def _items(h: h5py.File, order: int) -> Iterator[tuple[str, h5py.Dataset]]:
    group = h[f"t{order}_fields"]
    return ((name, group[name]) for name in _strings(group.attrs["field_names"]))


def _field(order: int, name: str, values: h5py.Dataset) -> WellField:
    attributes = values.attrs
    return WellField(
        name=name,
        order=order,
        time_varying=bool(attributes["time_varying"]),
        sample_varying=bool(attributes["sample_varying"]),
        dim_varying=tuple(bool(flag) for flag in attributes["dim_varying"]),
        unit=str(attributes["units"]) if "units" in attributes else "",
    )


def _check_field(values: h5py.Dataset, field: WellField, header: WellHeader, dataset: str) -> None:
    d = len(header.dim_names)
    expected = (header.n_trajectories,) * field.sample_varying + (header.n_steps,) * field.time_varying
    expected += tuple(n for n, varying in zip(header.grid_shape, field.dim_varying, strict=False) if varying)
    expected += (d,) * field.order
    where = f"data set {dataset}: {header.file}" if dataset else f"{header.file}"
    if values.shape != expected or len(field.dim_varying) != d:
        raise DataError(f"{where}: field {field.key} has shape {values.shape}; its attributes say {expected}.")
    if values.dtype.kind != "f":
        raise DataError(f"{where}: field {field.key} has dtype {values.dtype}; it must be a float, best float32.")


@dataclass(frozen=True)
class _Condition:
    """A boundary condition: its kind and the axes that it bounds."""

    kind: str
    axes: tuple[str, ...]

    @classmethod
    def read(cls, group: h5py.Group) -> _Condition:
        """A condition on one axis holds whatever its mask says: some published masks are all False.

        One on several axes may be an obstacle inside: it bounds an axis if it covers that axis's ends.
        """
        kind, axes = str(group.attrs["bc_type"]).lower(), _strings(group.attrs["associated_dims"])
        if len(axes) > 1:
            mask = group["mask"][()]
            ends = {axis: np.take(mask, [0, -1], axis=a) for a, axis in enumerate(axes)}
            axes = tuple(axis for axis in axes if (ends[axis].all() if kind == WALL else ends[axis].any()))
        return cls(kind, axes)


def _boundary(conditions: list[_Condition], axis: str) -> str:
    kinds = {condition.kind for condition in conditions if axis in condition.axes}
    return next((kind for kind in (PERIODIC, WALL) if kind in kinds), OPEN)


def _extent(coordinate: h5py.Dataset, kind: str) -> float:
    """The length of an axis; a period is one spacing longer than the distance of the first and last point."""
    if "extent" in coordinate.attrs:
        return float(coordinate.attrs["extent"])
    x = np.atleast_2d(coordinate[()])[0].astype(np.float64)
    length = float(x[-1] - x[0])
    if kind == PERIODIC and len(x) > 1:
        length *= len(x) / (len(x) - 1)
    return length if length > 0 and math.isfinite(length) else 1.0


def _time_step(time: h5py.Dataset) -> float:
    if "time_step" in time.attrs:
        return float(time.attrs["time_step"])
    t = np.atleast_2d(time[()])[0].astype(np.float64)
    step = float(t[-1] - t[0]) / max(len(t) - 1, 1)
    return step if step > 0 and math.isfinite(step) else 1.0


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values)
