"""Caches of latents: what they hold, how they are continued, and whom they refuse."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from autocast.data.augmentations import RandomSymmetry
from autocast.data.datamodule import FieldDataModule
from autocast.data.headers import describe
from autocast.data.latents import LatentDataModule
from autocast.data.latents_cache import latents_spec, write_latents
from autocast.data.latents_manifest import LatentsManifest, read_manifest
from autocast.data.splits import open_split
from autocast.errors import CheckpointError, ConfigError, DataError
from autocast.generative.noise import Noise
from autocast.layout import average_onto
from autocast.types import LatentBatch

MIX = torch.tensor([[1.0, -2.0, 0.5], [0.25, 1.0, 3.0]])
COARSE = (4, 6)
SHA = "a" * 64


class Killed(Exception):
    pass


def encode(frames: Tensor) -> Tensor:
    """Two channels on 8 x 12 to three on 4 x 6."""
    return average_onto(frames, COARSE) @ MIX


def plan_for(data: FieldDataModule, directory: Path, dtype: str = "float32", sha256: str = SHA) -> LatentsManifest:
    splits = {name: data.split(name) for name in data.header.splits}
    return LatentsManifest(
        directory=directory,
        checkpoint="runs/00/autoencoder.ckpt",
        checkpoint_sha256=sha256,
        data_path=str(data.header.path),
        data_digest=data.digest,
        dtype=dtype,
        fields=data.spec,
        latents=latents_spec(data.spec, n_channels=3, grid_shape=COARSE),
        splits={name: tuple(s.n_steps(i) for i in range(s.n_trajectories)) for name, s in splits.items()},
    )


def fill(plan: LatentsManifest, data: FieldDataModule, encoder: Callable[[Tensor], Tensor] = encode, **options):
    splits = {name: data.split(name) for name in data.header.splits}
    return write_latents(plan, splits, encoder, batch_size=4, **options)


@pytest.fixture
def data(make_dataset) -> FieldDataModule:
    return FieldDataModule(make_dataset(), n_steps_input=2, n_steps_output=1, batch_size=5)


@pytest.fixture
def cache(data: FieldDataModule, tmp_path: Path) -> LatentsManifest:
    return fill(plan_for(data, tmp_path / "latents" / "key"), data)


def open_cache(cache: LatentsManifest, data: FieldDataModule, **settings) -> LatentDataModule:
    keys = {"checkpoint_sha256": SHA, "data_digest": data.digest, "n_steps_input": 2, "n_steps_output": 1}
    return LatentDataModule(cache.directory, **{**keys, "batch_size": 5, **settings})


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("bfloat16", 2**-8), ("float16", 2**-11)])
def test_every_frame_is_there_in_order(data, tmp_path, dtype, tolerance):
    manifest = fill(plan_for(data, tmp_path / "cache", dtype), data)
    for name in ("train", "valid", "test"):
        fields, latents = data.split(name), open_split(manifest.directory, name)
        assert latents.n_trajectories == fields.n_trajectories
        for i in range(fields.n_trajectories):
            wanted = encode(torch.from_numpy(fields.read(i, 1, fields.n_steps(i), 2))).numpy()
            found = latents.read(i, 1, latents.n_steps(i), 2)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=0)
            np.testing.assert_array_equal(latents.scalars(i), fields.scalars(i))
            coarse = average_onto(torch.from_numpy(fields.constant_fields(i))[None], COARSE)[0]
            np.testing.assert_allclose(latents.constant_fields(i), coarse, rtol=1e-6)


def test_bfloat16_takes_half_the_room_and_says_what_it_is(data, tmp_path):
    manifest = fill(plan_for(data, tmp_path / "cache", "bfloat16"), data)
    with h5py.File(manifest.file("train")) as h:
        assert h.attrs["dtype"] == "bfloat16"
        assert h["frames"].dtype == np.uint16
        assert h["frames"].shape == (3 * 9 + 2 * 7, *COARSE, 3)


def test_the_statistics_are_those_of_the_whole_training_split(cache, data):
    frames = [open_split(cache.directory, "train").read(i, 0, data.split("train").n_steps(i)) for i in range(5)]
    normaliser = open_cache(cache, data).normaliser
    values = np.concatenate(frames).reshape(-1, 3)
    np.testing.assert_allclose(normaliser.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(normaliser.std, values.std(0), rtol=1e-5)


@pytest.mark.parametrize("n_done", [0, 1, 5, 8])
def test_a_killed_cache_goes_on_with_the_first_trajectory_that_is_missing(data, tmp_path, cache, n_done):
    plan, n_encoded = plan_for(data, tmp_path / "other"), 0

    def dying(frames: Tensor) -> Tensor:
        nonlocal n_encoded
        n_encoded += len(frames) < 4  # the last frames of a trajectory: 1 of 9, 3 of 7
        if n_encoded > n_done:
            os._exit(9)  # as by a signal: nothing is flushed or closed
        return encode(frames)

    if not (child := os.fork()):
        fill(plan, data, dying)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    begun = read_manifest(plan.directory)
    assert begun is not None
    assert not begun.complete
    with pytest.raises(DataError, match="not complete"):
        open_cache(plan, data)
    seen = []
    manifest = fill(plan, data, progress=lambda done, total: seen.append(done))
    lengths = [length for split in plan.splits.values() for length in split]
    assert seen == [sum(lengths[:n]) for n in range(n_done, len(lengths) + 1)]
    assert manifest.complete
    assert not (plan.directory / ".encoding").exists()
    for split in plan.splits:
        assert manifest.file(split).read_bytes() == cache.file(split).read_bytes()
    assert manifest.statistics == cache.statistics


def test_progress_stops_between_trajectories(data, tmp_path):
    plan = plan_for(data, tmp_path / "cache")

    def stop(done: int, total: int) -> None:
        if done:
            raise Killed

    with pytest.raises(Killed):
        fill(plan, data, progress=stop)
    assert (plan.directory / ".encoding" / "journal.txt").read_text() == "train 0\n"


@pytest.mark.parametrize("cut", ["tra", "train 1"])
def test_a_line_of_the_journal_that_was_cut_short_does_not_count(data, tmp_path, cache, cut):
    plan, seen = plan_for(data, tmp_path / "cache"), []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise Killed

    for tail in (cut, ""):
        with pytest.raises(Killed):
            fill(plan, data, progress=stop)
        with (plan.directory / ".encoding" / "journal.txt").open("a") as journal:
            journal.write(tail)
        done, seen = seen, []
    assert done[0] > 0
    fill(plan, data)
    for split in plan.splits:
        assert plan.file(split).read_bytes() == cache.file(split).read_bytes()


def test_a_cache_killed_while_its_files_are_moved_is_finished(data, tmp_path, monkeypatch, cache):
    plan, replace = plan_for(data, tmp_path / "other"), Path.replace

    def dying(self: Path, target: Path) -> Path:
        if target == plan.file("valid"):
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Killed):
        fill(plan, data)
    assert plan.file("train").is_file()
    assert not read_manifest(plan.directory).complete
    monkeypatch.undo()
    assert fill(plan, data, encoder=None).statistics == cache.statistics


def test_a_complete_cache_is_left_alone(cache, data):
    times = {file: file.stat().st_mtime_ns for file in cache.directory.iterdir()}
    assert fill(plan_for(data, cache.directory), data, encoder=None) == cache
    assert {file: file.stat().st_mtime_ns for file in cache.directory.iterdir()} == times


def test_a_cache_of_another_checkpoint_or_other_data_is_refused(cache, data, make_dataset):
    with pytest.raises(CheckpointError, match=r"not by the checkpoint of this run.*autocast cache-latents"):
        open_cache(cache, data, checkpoint_sha256="b" * 64)
    other = FieldDataModule(make_dataset("other", train=[(2, 9)], valid=[(1, 9)]))
    with pytest.raises(DataError, match=r"not from the data of this run.*autocast cache-latents"):
        open_cache(cache, other)
    with pytest.raises(CheckpointError, match="not by the checkpoint"):
        fill(plan_for(data, cache.directory, sha256="b" * 64), data)
    with pytest.raises(DataError, match="are there as float32"):
        fill(plan_for(data, cache.directory, "float16"), data)
    with pytest.raises(DataError, match=r"no cache of latents.*autocast cache-latents"):
        open_cache(plan_for(data, cache.directory.parent), data)


def test_an_unknown_dtype_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match=r"dtype=int8.*float32, bfloat16, float16"):
        fill(plan_for(data, tmp_path / "cache", "int8"), data)


def test_what_float16_cannot_hold_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match=r"train trajectory 0.*not finite as float16.*bfloat16"):
        fill(plan_for(data, tmp_path / "cache", "float16"), data, lambda frames: 1e6 * encode(frames))


def test_a_damaged_manifest_is_named(cache):
    file = cache.directory / "manifest.json"
    file.write_text(json.dumps({"checkpoint_sha256": SHA}))
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        read_manifest(cache.directory)


def test_a_lost_file_is_named(cache):
    cache.file("test").unlink()
    with pytest.raises(DataError, match=r"test is gone.*autocast cache-latents"):
        describe(cache.directory)


@pytest.mark.parametrize("memory_limit", [2.0, 0.0])
def test_batches_are_the_encoded_batches_of_the_fields(cache, data, memory_limit):
    latents = open_cache(cache, data, memory_limit=memory_limit)
    pairs = list(zip(data.train_dataloader(), latents.train_dataloader(), strict=True))
    assert len(pairs) > 2
    for fields, batch in pairs:
        assert isinstance(batch, LatentBatch)
        assert isinstance(batch.to("cpu"), LatentBatch)
        torch.testing.assert_close(batch.input_fields, encode_batch(fields.input_fields))
        torch.testing.assert_close(batch.output_fields, encode_batch(fields.output_fields))
        assert torch.equal(batch.trajectory, fields.trajectory)
        assert torch.equal(batch.start, fields.start)
        assert torch.equal(batch.scalars, fields.scalars)


def encode_batch(fields: Tensor) -> Tensor:
    return encode(fields.flatten(0, 1)).unflatten(0, fields.shape[:2])


def test_of_the_augmentation_only_shifts_of_whole_cells_are_left(cache, data):
    everything = functools.partial(RandomSymmetry, roll=True, flip=True, transpose=True)
    augment = open_cache(cache, data, augment=everything).augmentation
    batch = next(iter(open_cache(cache, data).train_dataloader()))
    moved = augment(batch, Noise([(0, i) for i in range(batch.size)]))
    assert isinstance(moved, LatentBatch)
    shifts = []
    for before, after in zip(batch.input_fields, moved.input_fields, strict=True):  # x is periodic, y has walls
        same = [k for k in range(COARSE[0]) if torch.equal(before.roll(k, dims=1), after)]
        assert len(same) == 1
        shifts += same
    assert len(set(shifts)) > 1
    assert open_cache(cache, data, augment=functools.partial(RandomSymmetry, roll=False)).augmentation is None
    assert open_cache(cache, data).augmentation is None
