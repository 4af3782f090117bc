"""Torch folders, as some public simulators write them: `{train,valid,test}/data.pt` or `data.h5`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from autocast.data.handles import Handles
from autocast.data.headers import torch_shapes, torch_spec
from autocast.data.trajectories import Trajectories
from autocast.data.well_header import naming_file
from autocast.errors import DataError

OPTIONAL_ARRAYS = ("constant_scalars", "constant_fields")


class ArrayReader(Protocol):
    """Arrays of one file by name; an index cuts before anything is read."""

    file: Path

    def shapes(self) -> dict[str, tuple[int, ...]]: ...

    def __call__(self, name: str, index: Any) -> np.ndarray: ...


class TensorFile:
    """`data.pt`: a dictionary of tensors, mapped into memory where its format allows."""

    def __init__(self, file: Path, dataset: str):
        self.file = file
        self._dataset = dataset
        self._tensors = _load_tensors(file, dataset)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self._tensors.items()}

    def __call__(self, name: str, index: Any) -> np.ndarray:
        return self._tensors[name][index].numpy().astype(np.float32)

    def __getstate__(self) -> tuple[Path, str]:
        return self.file, self._dataset

    def __setstate__(self, state: tuple[Path, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]


class ArrayFile:
    """`data.h5`: HDF5 data sets of the same names, read through a handle that stays open."""

    def __init__(self, file: Path, dataset: str):
        self.file = file
        self._dataset = dataset
        self._handles = Handles()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return torch_shapes(self.file, self._dataset)

    def __call__(self, name: str, index: Any) -> np.ndarray:
        with naming_file(self.file, self._dataset):
            return self._handles.dataset(self.file, name)[index].astype(np.float32)


class TorchTrajectories(Trajectories):
    """The trajectories of one `data.pt` or `data.h5`: `data` `(N, T, *S, C)` and optional constants."""

    def __init__(self, path: Path, file: Path):
        self._arrays: ArrayReader = (ArrayFile if file.suffix == ".h5" else TensorFile)(file, path.name)
        shapes = self._arrays.shapes()
        self.spec = torch_spec(path, shapes)
        self.field_orders = tuple((name, 0) for name in (*self.spec.channel_names, *self.spec.constant_field_names))
        self.n_trajectories, self._n_steps = shapes["data"][:2]
        for name in OPTIONAL_ARRAYS:
            if name in shapes and shapes[name][0] != self.n_trajectories:
                raise DataError(
                    f"data set {path.name}: {file}: {name!r} has shape {shapes[name]}, but there are "
                    f"{self.n_trajectories} trajectories in 'data'."
                )

    def n_steps(self, i: int) -> int:  # noqa: ARG002
        return self._n_steps

    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        self.check_range(i, start, stop, stride)
        return self._arrays("data", (i, slice(start, stop, stride)))

    def scalars(self, i: int) -> np.ndarray:
        return self._arrays("constant_scalars", i) if self.spec.n_scalars else np.empty(0, np.float32)

    def constant_fields(self, i: int) -> np.ndarray | None:
        return self._arrays("constant_fields", i) if self.spec.n_constant_fields else None

    def name(self, i: int) -> str:
        return f"{self._arrays.file}, trajectory {i}"


def _load_tensors(file: Path, dataset: str) -> dict[str, torch.Tensor]:
    where = f"data set {dataset}: {file}"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{where}: damaged, or not a dictionary of tensors: {error}.") from error
    tensors = {} if not isinstance(content, dict) else {k: v for k, v in content.items() if torch.is_tensor(v)}
    if "data" not in tensors or not 4 <= tensors["data"].ndim <= 6:
        found = {name: tuple(value.shape) for name, value in tensors.items()} or type(content).__name__
        raise DataError(f"{where}: holds {found}; expected 'data' (N, T, *S, C) with 1 to 3 spatial axes.")
    return tensors


def _is_archive(file: Path) -> bool:
    """Only the zip format, torch's own since 1.6, can be mapped."""
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"
