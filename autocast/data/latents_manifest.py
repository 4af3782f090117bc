"""What a cache of latents says of itself: whose they are, and whether it is complete. Read without torch.

A cache is a directory, `RUN/ae/latents/<key>/`, with one HDF5 file for each split. While it is made, all of it lies in
`.encoding/` in there; `manifest.json` comes last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.errors import CheckpointError, DataError
from autocast.types import FieldSpec

DTYPES = ("float32", "bfloat16", "float16")
MANIFEST_FILE = "manifest.json"
PENDING_DIR = ".encoding"
"""Holds a cache in the making; gone when it is complete."""
PLAN_FILE = "plan.json"
AGAIN = "Make a cache for it: autocast cache-latents --autoencoder RUN"


@dataclass(frozen=True)
class LatentsManifest:
    """All that a cache depends on, and what was measured when it was complete."""

    directory: Path
    checkpoint: str
    """The file that the encoder came from."""
    checkpoint_sha256: str
    data_path: str
    """The data set that was encoded."""
    data_digest: str
    dtype: str
    """One of `DTYPES`: how latents are stored; readers give float32."""
    fields: FieldSpec
    """Of the data set."""
    latents: FieldSpec
    """Of its encoded frames."""
    splits: dict[str, tuple[int, ...]]
    """Frames of each trajectory."""
    statistics: dict[str, Any] | None = None
    """Of the latents of the training split: mean, std, rms and those of their increments, per channel."""

    @property
    def complete(self) -> bool:
        return self.statistics is not None

    @property
    def digest(self) -> str:
        """Of all that the latents depend on."""
        parts = (self.checkpoint_sha256, self.data_digest, self.dtype)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def file(self, split: str) -> Path:
        """Where the latents of a split are, once they are complete."""
        return self.directory / f"{split}.hdf5"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the directory."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["directory"]
        specs = {name: values[name].to_dict() for name in ("fields", "latents")}
        return values | specs | {"splits": {name: list(lengths) for name, lengths in self.splits.items()}}


def read_complete(directory: str | Path) -> LatentsManifest | None:
    """The manifest of a complete cache; None where there is no cache.

    Raises:
        DataError: There is one in the making, or it lacks a file.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        return None
    if not manifest.complete:
        raise DataError(f"latents {directory}: are not complete. Run the same 'autocast cache-latents' again.")
    missing = [split for split in manifest.splits if not manifest.file(split).is_file()]
    if missing:
        raise DataError(f"latents {directory}: {', '.join(missing)} is gone. Delete {directory}; {AGAIN}")
    return manifest


def read_manifest(directory: str | Path) -> LatentsManifest | None:
    """The manifest of a cache that is complete or was begun; None where there is neither.

    Raises:
        DataError: It is damaged.
    """
    directory = Path(directory)
    files = (directory / MANIFEST_FILE, directory / PENDING_DIR / PLAN_FILE)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        values = json.loads(file.read_text())
        return _parse(directory, values) if "checkpoint_sha256" in values else None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"latents {directory}: {file} is damaged ({error}). Delete {directory}; {AGAIN}") from error


def check_latents(manifest: LatentsManifest, *, checkpoint_sha256: str, data_digest: str) -> None:
    """Raises where a cache is not of this checkpoint and these data.

    Raises:
        CheckpointError: Its encoder is another one.
        DataError: Its data are other ones.
    """
    where = f"latents {manifest.directory}"
    if manifest.checkpoint_sha256 != checkpoint_sha256:
        raise CheckpointError(
            f"{where}: were encoded by {manifest.checkpoint} (sha256 {manifest.checkpoint_sha256[:12]}), not by the "
            f"checkpoint of this run (sha256 {checkpoint_sha256[:12]}). {AGAIN}"
        )
    if manifest.data_digest != data_digest:
        raise DataError(
            f"{where}: were made from {manifest.data_path} (digest {manifest.data_digest[:12]}), not from the data of "
            f"this run (digest {data_digest[:12]}). {AGAIN}"
        )


def _parse(directory: Path, values: Mapping[str, Any]) -> LatentsManifest:
    return LatentsManifest(
        directory=directory,
        **{key: values[key] for key in ("checkpoint", "checkpoint_sha256", "data_path", "data_digest", "dtype")},
        fields=FieldSpec.from_dict(values["fields"]),
        latents=FieldSpec.from_dict(values["latents"]),
        splits={name: tuple(lengths) for name, lengths in values["splits"].items()},
        statistics=values["statistics"],
    )
