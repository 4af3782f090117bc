"""Plain values, arrays, tables and dataclasses as one file, without pickle: what is read is what was written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_OUTLINE = "outline"
"""Name of the array that holds everything but the arrays, as JSON."""

Classes = Mapping[str, type]
"""The dataclasses that a file may hold, by name."""


def write_archive(value: Any, file: Path) -> Path:
    """Whole or not at all.

    Args:
        value: Nested dictionaries (with text for keys), lists, tuples, dataclasses, tables, arrays and plain values.
        file: A `.npz`; the same value gives the same bytes.

    Raises:
        TypeError: For a value of another kind.
    """
    arrays: dict[str, np.ndarray] = {}
    outline = json.dumps(_pack(value, arrays), ensure_ascii=False)
    arrays[_OUTLINE] = np.frombuffer(outline.encode(), np.uint8)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as out:
            np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
        return partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def read_archive(file: Path, classes: Classes) -> Any:
    """What `write_archive` wrote.

    Raises:
        KeyError: It holds a class that is not among `classes`.
        TypeError: A class has other fields now.
    """
    with file.open("rb") as opened, np.load(opened) as arrays:
        outline = json.loads(arrays[_OUTLINE].tobytes().decode())
        return _unpack(outline, arrays, classes)


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Plain values as they are; of all others a dictionary whose only key says what it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": _keep(value, arrays)}
    if isinstance(value, pd.DataFrame):
        return {"table": {str(name): _keep(_column(value[name]), arrays) for name in value.columns}}
    return _pack_nested(value, arrays)


def _pack_nested(value: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"mapping": {name: _pack(each, arrays) for name, each in value.items()}}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(each, arrays) for each in value]}
    if dataclasses.is_dataclass(value):
        fields = {field.name: _pack(vars(value)[field.name], arrays) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, "fields": fields}
    raise TypeError(f"a {type(value).__name__} cannot be written")


def _keep(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    name = str(len(arrays))
    arrays[name] = array
    return name


def _column(values: pd.Series) -> np.ndarray:
    """Text as an array of text, which needs no pickle."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy()
    return np.array(values.astype(str).tolist(), dtype=np.str_)


def _unpack(packed: Any, arrays: Any, classes: Classes) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "class" in packed:
        fields = {name: _unpack(each, arrays, classes) for name, each in packed["fields"].items()}
        return classes[packed["class"]](**fields)
    ((kind, content),) = packed.items()
    if kind == "array":
        return arrays[content]
    if kind == "table":
        return pd.DataFrame({name: _values(arrays[key]) for name, key in content.items()})
    if kind == "mapping":
        return {name: _unpack(each, arrays, classes) for name, each in content.items()}
    values = [_unpack(each, arrays, classes) for each in content]
    return tuple(values) if kind == "tuple" else values


def _values(array: np.ndarray) -> np.ndarray | list[str]:
    return array.tolist() if array.dtype.kind == "U" else array
