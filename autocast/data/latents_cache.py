"""Encodes every trajectory of a data set once, in order, into a cache that can be continued after any interruption."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from autocast.data.latents_file import LatentsWriter, LatentTrajectories, create_latents_file
from autocast.data.latents_manifest import (
    DTYPES,
    MANIFEST_FILE,
    PENDING_DIR,
    PLAN_FILE,
    LatentsManifest,
    check_latents,
    read_manifest,
)
from autocast.data.manifest import write_json
from autocast.data.statistics import compute_statistics
from autocast.data.trajectories import Trajectories, check_finite
from autocast.errors import ConfigError, DataError
from autocast.layout import average_onto
from autocast.types import FieldSpec

Encode = Callable[[Tensor], Tensor]
"""Frames `(T, *S, C)` in physical units to latents `(T, *S', C')`, on any device."""
Progress = Callable[[int, int], None]
"""Told the frames that are done and those that there will be, after every trajectory; what it raises stops the work
where it can be continued."""


def latents_spec(fields: FieldSpec, *, n_channels: int, grid_shape: tuple[int, ...]) -> FieldSpec:
    """Encoded frames of `fields` as fields of their own."""
    names = tuple(f"z{c}" for c in range(n_channels))
    return dataclasses.replace(fields, channel_names=names, units=("",) * n_channels, grid_shape=grid_shape)


def write_latents(
    plan: LatentsManifest,
    splits: Mapping[str, Trajectories],
    encode: Encode,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> LatentsManifest:
    """Makes the cache in `plan.directory`, continues it, or finds it complete.

    Args:
        plan: What the cache is of; without statistics.
        splits: The trajectories to encode.
        encode: The trained encoder.
        batch_size: Frames that are encoded at once.
        progress: See `Progress`.

    Returns:
        The manifest of the complete cache.

    Raises:
        CheckpointError: Latents of another encoder are there.
        DataError: Latents of other data or of another dtype are there, or a value is not finite.
    """
    if plan.dtype not in DTYPES:
        raise ConfigError(f"dtype={plan.dtype}: latents cannot be stored so. There are: {', '.join(DTYPES)}.")
    there = read_manifest(plan.directory)
    if there is not None:
        _check_same(there, plan)
    if there is not None and there.complete:
        shutil.rmtree(plan.directory / PENDING_DIR, ignore_errors=True)
        return there
    pending = _Pending(plan)
    pending.encode(splits, encode, batch_size, progress or _unheard)
    return pending.finish()


class _Pending:
    """A cache in the making."""

    def __init__(self, plan: LatentsManifest):
        self.plan = plan
        self.directory = plan.directory / PENDING_DIR
        self._journal_file = self.directory / "journal.txt"
        self._begin()
        self._done = self._read_journal()

    def file(self, split: str) -> Path:
        """The partial file, or the final one if the process was killed while the files were moved."""
        final = self.plan.file(split)
        return final if final.is_file() else self.directory / final.name

    def encode(self, splits: Mapping[str, Trajectories], encode: Encode, batch_size: int, progress: Progress) -> None:
        """All trajectories that are missing, split after split."""
        lengths = self.plan.splits
        done, total = sum(lengths[split][i] for split, i in self._done), sum(map(sum, lengths.values()))
        progress(done, total)
        for split, missing in self._missing().items():
            with LatentsWriter(self.file(split)) as writer:
                for i in missing:
                    self._encode_one(splits[split], i, writer, encode, batch_size)
                    self._note(split, i)
                    done += lengths[split][i]
                    progress(done, total)

    def finish(self) -> LatentsManifest:
        """Statistics of the training split, final names, and the manifest last."""
        statistics = compute_statistics(LatentTrajectories(self.file("train"), self.plan.latents))
        manifest = dataclasses.replace(self.plan, statistics=statistics.to_dict())
        write_json(self.directory / MANIFEST_FILE, manifest.to_dict())
        for split in self.plan.splits:
            self.file(split).replace(self.plan.file(split))
        (self.directory / MANIFEST_FILE).replace(self.plan.directory / MANIFEST_FILE)
        shutil.rmtree(self.directory)
        return manifest

    def _begin(self) -> None:
        """Files with all space laid out, then the plan: a directory with a plan is ready to be filled."""
        plan_file = self.directory / PLAN_FILE
        if plan_file.is_file():
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        for split, lengths in self.plan.splits.items():
            create_latents_file(self.file(split), self.plan.latents, lengths=lengths, dtype=self.plan.dtype)
        self._journal_file.touch()
        write_json(plan_file, self.plan.to_dict())

    def _read_journal(self) -> set[tuple[str, int]]:
        """Trajectories that are on disk. A last line without its end was cut short: it does not count, and goes."""
        whole, end, _ = self._journal_file.read_text().rpartition("\n")
        os.truncate(self._journal_file, len(f"{whole}{end}"))
        return {(split, int(i)) for split, i in map(str.split, whole.splitlines())}

    def _missing(self) -> dict[str, list[int]]:
        """Trajectories that are not on disk, of the splits that have any."""
        splits = self.plan.splits.items()
        found = {split: [i for i in range(len(lengths)) if (split, i) not in self._done] for split, lengths in splits}
        return {split: missing for split, missing in found.items() if missing}

    def _note(self, split: str, i: int) -> None:
        with self._journal_file.open("a") as journal:
            journal.write(f"{split} {i}\n")

    def _encode_one(
        self, trajectories: Trajectories, i: int, writer: LatentsWriter, encode: Encode, batch_size: int
    ) -> None:
        n_steps = trajectories.n_steps(i)
        for start in range(0, n_steps, batch_size):
            frames = trajectories.read(i, start, min(start + batch_size, n_steps))
            check_finite(frames, trajectories, i, start)
            writer.write(i, encode(torch.from_numpy(frames)), start)
        spec = self.plan.latents
        if spec.n_scalars:
            writer.write_scalars(i, trajectories.scalars(i))
        constant_fields = trajectories.constant_fields(i)
        if constant_fields is not None:
            coarse = average_onto(torch.from_numpy(constant_fields)[None], spec.grid_shape)
            writer.write_constant_fields(i, coarse[0].numpy())
        writer.flush()


def _check_same(there: LatentsManifest, plan: LatentsManifest) -> None:
    check_latents(there, checkpoint_sha256=plan.checkpoint_sha256, data_digest=plan.data_digest)
    if there.dtype != plan.dtype:
        raise DataError(
            f"latents {plan.directory}: are there as {there.dtype}, and left as they are. "
            f"Ask for dtype={there.dtype}, or delete {plan.directory} to have them as {plan.dtype}."
        )


def _unheard(done: int, total: int) -> None:
    pass
