"""What a simulated data set was made of: the plan that its data depend on, and the record of its files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch

from autocast.data.headers import SPLITS
from autocast.errors import DataError
from autocast.types import FieldSpec
from autocast.version import __version__

if TYPE_CHECKING:
    from autocast.simulators.simulator import Simulator


def make_plan(simulator: Simulator, name: str, splits: Mapping[str, int], seed: int) -> dict[str, Any]:
    """All that the data depend on, in plain values."""
    description = dict(simulator.describe())
    n_frames = int(description.pop("n_frames"))
    spec = FieldSpec.from_dict({"dataset_name": name} | description)
    plan = {
        "simulator": f"{type(simulator).__module__}.{type(simulator).__qualname__}",
        "settings": {key: value for key, value in vars(simulator).items() if not key.startswith("_")},
        "seed": seed,
        "splits": {split: splits[split] for split in SPLITS if splits.get(split)},
        "n_frames": n_frames,
        "spec": spec.to_dict(),
    }
    return json.loads(json.dumps(plan, default=str))


def check_same(path: Path, found: dict[str, Any], plan: dict[str, Any], what: str) -> None:
    """Raises `DataError` naming every setting in which the plans differ."""
    old, new = _flat(found), _flat(plan)
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if keys:
        listed = "\n".join(f"  {key}: {old.get(key)} there, {new.get(key)} now" for key in keys)
        raise DataError(
            f"data set {path}: there is {what} made with other settings; it is left as it is.\n{listed}\n"
            f"Give another name, the same settings, or delete {path}."
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def file_entry(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "n_bytes": file.stat().st_size}


def versions() -> dict[str, str]:
    packages = {"torch": torch, "numpy": np, "h5py": h5py}
    known = {"python": platform.python_version(), "autocast": __version__}
    return known | {name: str(module.__version__) for name, module in packages.items()}


def write_json(file: Path, value: Any) -> None:
    """The whole file or none."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.replace(file)
