"""What a data set is, read in milliseconds and without torch: splits, shapes, names, manifest and digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import yaml

from autocast.data import latents_manifest
from autocast.data.picture_sets import PictureSet, check_no_column, find_pictures, name_within, survey
from autocast.data.torch_archive import read_tensor_headers
from autocast.data.well_header import WellHeader, naming_file, open_for_reading, read_well_header
from autocast.errors import DataError
from autocast.types import OPEN, FieldSpec

SPLITS = ("train", "valid", "test")
WELL, TORCH, LATENTS, PICTURES = "well", "torch", "latents", "pictures"
MANIFEST_FILE = "manifest.json"
PENDING_DIR = ".simulation"
"""Holds the partial files of a data set that is being simulated; gone when it is complete."""
TORCH_FILES = ("data.pt", "data.h5")
TORCH_STATS_FILE = "stats.yml"
STATS_FILE = "stats.yaml"
LAYOUTS = "data/{train,valid,test}/*.hdf5 (The Well), {train,valid,test}/data.pt (data.h5), or pictures"


@dataclass(frozen=True)
class SplitHeader:
    n_trajectories: int
    n_steps: int
    """Frames of the shortest trajectory."""
    files: tuple[Path, ...]
    n_bytes: int
    """Size of the files on disk."""


@dataclass(frozen=True)
class DatasetHeader:
    """A data set without its fields."""

    path: Path
    layout: str
    """"well", "torch" or "pictures"; of a cache of encoded frames "latents"."""
    spec: FieldSpec | None
    """None for a `.pt` file that only torch can read."""
    splits: dict[str, SplitHeader]
    manifest: dict[str, Any] | None
    """Of a simulated data set, as long as its files are those that the manifest names."""
    digest: str
    """Of pictures, of their files alone: not of the size or the column that is read."""
    stats_file: str = STATS_FILE
    """Where statistics of the training split are kept, in `path`."""
    notes: tuple[str, ...] = ()
    """What is not as it lies on disk, without being an error."""

    def to_dict(self) -> dict[str, Any]:
        splits = {
            name: dataclasses.asdict(split) | {"files": [str(file) for file in split.files]}
            for name, split in self.splits.items()
        }
        spec = None if self.spec is None else self.spec.to_dict()
        return {"path": str(self.path), "layout": self.layout, "spec": spec, "splits": splits, "digest": self.digest}


def describe(path: str | Path, *, size: tuple[int, int] | None = None, column: str | None = None) -> DatasetHeader:
    """The header of a data set.

    Args:
        path: Its directory.
        size: Height and width that pictures are resized to; fields have their grid.
        column: Of lists of pictures, the one that is read.

    Raises:
        DataError: The data set cannot be used, or not so.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"data set {path}: there is no such directory. Expected {LAYOUTS} in it.")
    if (path / PENDING_DIR).is_dir() and not (path / MANIFEST_FILE).is_file():
        raise DataError(
            f"data set {path}: its simulation is not complete. Run the same 'autocast data simulate' again."
        )
    if fields := _describe_fields(path):
        _check_pictures_only(fields, size, column)
        return fields
    if pictures := find_pictures(path, column):
        return _describe_pictures(pictures, size, column)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise DataError(f"data set {path}: found {found}; expected {LAYOUTS}.")


def _describe_fields(path: Path) -> DatasetHeader | None:
    if well := {split: files for split in SPLITS if (files := well_files(path, split))}:
        return _describe_well(path, well)
    if torch := {split: file for split in SPLITS if (file := torch_file(path, split))}:
        return _describe_torch(path, torch)
    latents = latents_manifest.read_complete(path)
    return _describe_latents(latents) if latents else None


def _check_pictures_only(fields: DatasetHeader, size: tuple[int, int] | None, column: str | None) -> None:
    grid = fields.spec.grid_shape if fields.spec else None
    if size is not None and size != grid:
        found = f"its fields have the grid {list(grid)}" if grid else "it holds fields"
        raise DataError(
            f"datamodule.size={list(size)}: only pictures are resized; data set {fields.path}: {found}. Leave it null."
        )
    check_no_column(fields.path, column)


def well_files(path: Path, split: str) -> tuple[Path, ...]:
    """The HDF5 files of a split, in the order of their trajectories."""
    directory = path / "data" / split
    return tuple(sorted(file for suffix in ("*.h5", "*.hdf5") for file in directory.glob(suffix)))


def torch_file(path: Path, split: str) -> Path | None:
    return next((file for name in TORCH_FILES if (file := path / split / name).is_file()), None)


def read_well_headers(path: Path, split: str) -> list[WellHeader]:
    """The headers of all files of a split, checked against each other."""
    headers = [read_well_header(file, dataset=path.name) for file in well_files(path, split)]
    for other in headers[1:]:
        check_agreement(headers[0], other)
    return headers


def check_agreement(first: WellHeader, other: WellHeader) -> None:
    """Raises `DataError` where two files cannot be parts of one data set."""
    for name in ("dataset_name", "dim_names", "grid_shape", "scalar_names", "fields"):
        expected, found = getattr(first, name), getattr(other, name)
        if name == "fields":
            expected, found = ([(f.name, f.order, f.time_varying) for f in fields] for fields in (expected, found))
        if expected != found:
            raise DataError(
                f"data set {first.dataset_name}: {other.file} has {name} {found}, but {first.file} has {expected}. "
                f"All files of a data set must agree."
            )


def _describe_well(path: Path, files: dict[str, tuple[Path, ...]]) -> DatasetHeader:
    headers = {split: read_well_headers(path, split) for split in files}
    first = next(iter(headers.values()))[0]
    for others in headers.values():
        check_agreement(first, others[0])
    splits = {
        split: SplitHeader(
            n_trajectories=sum(header.n_trajectories for header in parts),
            n_steps=min(header.n_steps for header in parts),
            files=files[split],
            n_bytes=sum(file.stat().st_size for file in files[split]),
        )
        for split, parts in headers.items()
    }
    shapes = {str(h.file.relative_to(path)): [h.n_trajectories, h.n_steps] for hs in headers.values() for h in hs}
    return _header(path, WELL, first.spec, splits, shapes)


def _describe_torch(path: Path, files: dict[str, Path]) -> DatasetHeader:
    shapes = {split: torch_shapes(file, path.name) for split, file in files.items()}
    splits = {
        split: SplitHeader(
            n_trajectories=shapes[split]["data"][0] if shapes[split] else 0,
            n_steps=shapes[split]["data"][1] if shapes[split] else 0,
            files=(file,),
            n_bytes=file.stat().st_size,
        )
        for split, file in files.items()
    }
    known = next((found for found in shapes.values() if found), None)
    spec = torch_spec(path, known) if known else None
    listed = {str(files[split].relative_to(path)): list(found.items()) for split, found in shapes.items()}
    return _header(path, TORCH, spec, splits, listed)


def _describe_latents(manifest: latents_manifest.LatentsManifest) -> DatasetHeader:
    splits = {
        split: SplitHeader(len(lengths), min(lengths), (manifest.file(split),), manifest.file(split).stat().st_size)
        for split, lengths in manifest.splits.items()
    }
    return DatasetHeader(manifest.directory, LATENTS, manifest.latents, splits, None, manifest.digest)


def _describe_pictures(pictures: PictureSet, size: tuple[int, int] | None, column: str | None) -> DatasetHeader:
    path, found = pictures.path, survey(pictures, size)
    sizes = {file: file.stat().st_size for file in {*pictures.files, *pictures.others}}
    splits = {
        split: SplitHeader(
            n_trajectories=len(entries),
            n_steps=1,
            files=tuple(entry.file for entry in entries),
            n_bytes=sum(sizes[entry.file] for entry in entries),
        )
        for split, entries in pictures.splits.items()
    }
    facts = {
        "sizes": {name_within(path, file): n_bytes for file, n_bytes in sizes.items()},
        "splits": {split: [entry.key for entry in entries] for split, entries in pictures.splits.items()},
    }
    shown = ["x".join(map(str, found.shape))] if found.n_resized else []
    return DatasetHeader(
        path=path,
        layout=PICTURES,
        spec=found.spec(path.absolute().name),
        splits=splits,
        manifest=None,
        digest=sha256_of(facts),
        stats_file="_".join(["stats", *([column] if column else []), *shown]) + ".yaml",
        notes=found.notes,
    )


def _header(
    path: Path,
    layout: str,
    spec: FieldSpec | None,
    splits: dict[str, SplitHeader],
    shapes: dict[str, Any],
) -> DatasetHeader:
    sizes = {str(file.relative_to(path)): file.stat().st_size for split in splits.values() for file in split.files}
    manifest = _read_manifest(path, sizes)
    facts = {"sizes": sizes, "shapes": shapes, "spec": spec.to_dict() if spec else None}
    digest = manifest["digest"] if manifest else sha256_of(facts)
    return DatasetHeader(path, layout, spec, splits, manifest, digest)


def _read_manifest(path: Path, sizes: dict[str, int]) -> dict[str, Any] | None:
    """The manifest, or None where there is none or the files are no longer those that it names."""
    file = path / MANIFEST_FILE
    if not file.is_file():
        return None
    try:
        manifest = json.loads(file.read_text())
        named = {name: entry["n_bytes"] for name, entry in manifest["files"].items()}
        return manifest if named == sizes and manifest["digest"] else None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"data set {path}: {file} is damaged: {error}. Delete it; the data do not need it.") from error


def sha256_of(value: Any) -> str:
    """The digest of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def torch_shapes(file: Path, dataset: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in `data.pt` or `data.h5`; empty where only torch can read the file."""
    where = f"data set {dataset}: {file}"
    if file.suffix == ".h5":
        with naming_file(file, dataset), open_for_reading(file) as h:
            shapes = {name: tuple(value.shape) for name, value in h.items() if isinstance(value, h5py.Dataset)}
    else:
        try:
            headers = read_tensor_headers(file)
        except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, IndexError, AttributeError) as error:
            raise DataError(f"{where}: damaged, or not a dictionary of tensors: {error}.") from error
        if headers is None:
            return {}
        shapes = {name: header.shape for name, header in headers.items()}
    if "data" not in shapes:
        raise DataError(f"{where}: has {', '.join(sorted(shapes)) or 'nothing'}; expected 'data' (N, T, *S, C).")
    if not 4 <= len(shapes["data"]) <= 6:
        raise DataError(f"{where}: 'data' has shape {shapes['data']}; expected (N, T, *S, C) with 1 to 3 spatial axes.")
    return shapes


def torch_spec(path: Path, shapes: dict[str, tuple[int, ...]]) -> FieldSpec:
    """A torch folder knows no units, coordinates or boundaries: spacing and time step are 1, boundaries open."""
    _, _, *grid_shape, n_channels = shapes["data"]
    stats = read_torch_stats(path)
    n_constant = shapes["constant_fields"][-1] if "constant_fields" in shapes else 0
    n_scalars = shapes["constant_scalars"][-1] if "constant_scalars" in shapes else 0
    return FieldSpec(
        dataset_name=path.absolute().name,
        channel_names=_field_names(path, stats, "core_field_names", "channel", n_channels),
        units=("",) * n_channels,
        dim_names=("x", "y", "z")[: len(grid_shape)],
        grid_shape=tuple(grid_shape),
        extent=tuple(float(n) for n in grid_shape),
        boundary=(OPEN,) * len(grid_shape),
        time_step=1.0,
        scalar_names=tuple(f"scalar_{k}" for k in range(n_scalars)),
        constant_field_names=_field_names(path, stats, "constant_field_names", "constant", n_constant),
    )


def read_torch_stats(path: Path) -> dict[str, Any]:
    file = path / TORCH_STATS_FILE
    if not file.is_file():
        return {}
    try:
        stats = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise DataError(f"data set {path}: {file} is not YAML: {error}.") from error
    if not isinstance(stats, dict):
        raise DataError(f"data set {path}: {file} holds a {type(stats).__name__}; expected keys such as 'stats'.")
    return stats


def _field_names(path: Path, stats: dict[str, Any], key: str, default: str, n: int) -> tuple[str, ...]:
    names = stats[key] if stats.get(key) else [f"{default}_{c}" for c in range(n)]
    if len(names) != n:
        raise DataError(f"data set {path}: {TORCH_STATS_FILE} lists {len(names)} {key} {names}, but the data have {n}.")
    return tuple(str(name) for name in names)
