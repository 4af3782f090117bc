"""Names, shapes and dtypes of the tensors in a `.pt` file, read from its index without importing torch.

A file that `torch.save` wrote is a zip archive: a small pickle of the structure and one raw member per storage. Only
the pickle is read here, with every class that it may name listed.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TensorHeader:
    shape: tuple[int, ...]
    storage: str
    """The name of torch's storage class: "FloatStorage", "DoubleStorage"."""


def read_tensor_headers(file: Path) -> dict[str, TensorHeader] | None:
    """Headers of the tensors in the dictionary that `file` holds; None where the file is not such an archive."""
    if not zipfile.is_zipfile(file):
        return None  # written before torch 1.6: only torch itself reads these
    with zipfile.ZipFile(file) as archive:
        index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if index is None:
            return None
        with archive.open(index) as stream:
            content = _Structure(stream).load()
    if not isinstance(content, dict):
        return None
    return {str(name): value for name, value in content.items() if isinstance(value, TensorHeader)}


def _tensor_header(storage: str, _offset: int, shape: tuple[int, ...], *_: Any) -> TensorHeader:
    return TensorHeader(tuple(shape), storage)


class _Structure(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_header
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"it holds a {module}.{name}; only tensors are accepted")

    def persistent_load(self, identifier: Any) -> str:
        return str(identifier[1])
