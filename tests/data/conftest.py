"""Toy data sets: unequal everything, smooth enough to tell frames, channels and axes apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autocast.data.well_writer import well_file
from autocast.types import FieldSpec

torch.set_num_threads(1)

GRIDS = {1: (12,), 2: (8, 12), 3: (4, 6, 8)}


def toy_spec(d: int = 2, **changes) -> FieldSpec:
    values = {
        "dataset_name": "toy",
        "channel_names": ("u", "v"),
        "units": ("m/s", ""),
        "dim_names": ("x", "y", "z")[:d],
        "grid_shape": GRIDS[d],
        "extent": (2.0, 3.0, 5.0)[:d],
        "boundary": ("periodic", "wall", "open")[:d],
        "time_step": 0.3,
        "scalar_names": ("nu", "mu"),
        "constant_field_names": ("depth",),
    }
    return FieldSpec(**(values | changes))


def random_fields(rng: np.random.Generator, n_steps: int, spec: FieldSpec, n_channels: int | None = None) -> np.ndarray:
    n_channels = spec.n_channels if n_channels is None else n_channels
    return rng.normal(2, 3, (n_steps, *spec.grid_shape, n_channels)).astype(np.float32)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data set with our writer: for each split a list of (trajectories, steps), one entry per file."""

    def make(name: str = "toy", spec: FieldSpec | None = None, seed: int = 0, **splits) -> Path:
        spec = spec or toy_spec(dataset_name=name)
        rng = np.random.default_rng(seed)
        splits = splits or {"train": [(3, 9), (2, 7)], "valid": [(2, 9)], "test": [(2, 9)]}
        for split, files in splits.items():
            for part, (n, n_steps) in enumerate(files):
                file = tmp_path / name / "data" / split / f"part{part}.hdf5"
                with well_file(file, spec, n_trajectories=n, n_steps=n_steps) as writer:
                    for i in range(n):
                        writer.write(i, random_fields(rng, n_steps, spec))
                        writer.write_scalars(i, rng.normal(size=spec.n_scalars))
                        writer.write_constant_fields(i, random_fields(rng, 1, spec, spec.n_constant_fields)[0])
        return tmp_path / name

    return make


@pytest.fixture
def spec() -> Callable[..., FieldSpec]:
    return toy_spec


@pytest.fixture
def fields() -> Callable[..., np.ndarray]:
    return random_fields
