from __future__ import annotations

import filecmp
import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from autocast.data.headers import PENDING_DIR, describe
from autocast.data.simulate import simulate_dataset, trajectory_seed
from autocast.data.splits import open_split
from autocast.data.statistics import compute_statistics
from autocast.errors import DataError

SPLITS = {"train": 7, "valid": 2, "test": 3}
SEED = 5


@dataclass
class Result:
    fields: torch.Tensor
    scalars: torch.Tensor
    rejected: list = field(default_factory=list)


@dataclass
class Rejected:
    message: str


class Waves:
    """A stand-in for a simulator: what a trajectory is depends on its seed alone."""

    def __init__(self, speed: float = 1.0, pause: float = 0.0, bad_seed: int | None = None):
        self.speed = speed
        self._pause = pause
        self._bad_seed = bad_seed
        self._asked: list[list[int]] = []

    def describe(self):
        return {
            "channel_names": ("u", "v"),
            "units": ("m", ""),
            "dim_names": ("x", "y"),
            "grid_shape": (8, 12),
            "extent": (1.0, 1.5),
            "boundary": ("periodic", "periodic"),
            "time_step": 0.1,
            "n_frames": 5,
            "scalar_names": ("phase",),
        }

    def simulate(self, seeds, device="cpu", progress=None):
        self._asked.append(list(seeds))
        fields = torch.stack([torch.from_numpy(np.random.default_rng(s).normal(size=(5, 8, 12, 2))) for s in seeds])
        for _ in range(5):
            time.sleep(self._pause / 5)
            if progress is not None:
                progress(len(seeds))
        rejected = [Rejected(f"seed {s} blew up") for s in seeds if s == self._bad_seed]
        return Result((self.speed * fields).float(), torch.tensor([[s % 100 / 7] for s in seeds]), rejected)


def make(path: Path, simulator=None, splits=None, seed: int = SEED, **options):
    return simulate_dataset(simulator or Waves(), path, splits=splits or SPLITS, seed=seed, **options)


def files_of(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def assert_same_files(first: Path, second: Path) -> None:
    assert files_of(first) == files_of(second)
    _, mismatch, errors = filecmp.cmpfiles(first, second, files_of(first), shallow=False)
    assert not mismatch
    assert not errors


def test_it_writes_the_wells_directories_statistics_and_a_manifest(tmp_path):
    summary = make(tmp_path / "waves")
    assert files_of(summary.path) == [
        *(f"data/{split}/waves.hdf5" for split in ("test", "train", "valid")),
        "manifest.json",
        "stats.yaml",
    ]
    assert (summary.n_trajectories, summary.n_simulated, summary.was_complete) == (12, 12, False)
    header = describe(summary.path)
    assert header.spec.dataset_name == "waves"
    assert header.spec.time_step == 0.1
    assert {name: split.n_trajectories for name, split in header.splits.items()} == SPLITS
    assert header.digest == summary.digest == header.manifest["digest"]


def test_the_manifest_says_how_to_make_it_again(tmp_path):
    manifest = json.loads((make(tmp_path / "waves").path / "manifest.json").read_text())
    assert manifest["plan"]["simulator"].endswith("Waves")
    assert manifest["plan"]["settings"] == {"speed": 1.0}
    assert (manifest["plan"]["seed"], manifest["plan"]["splits"]) == (SEED, SPLITS)
    assert set(manifest["versions"]) == {"python", "autocast", "torch", "numpy", "h5py"}
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())


def test_a_trajectory_is_what_its_seed_makes_it(tmp_path):
    path = make(tmp_path / "waves", batch_size=3).path
    for split, n in SPLITS.items():
        trajectories = open_split(path, split)
        for i in range(n):
            expected = Waves().simulate([trajectory_seed(SEED, split, i)])
            assert np.array_equal(trajectories.read(i, 0, 5), expected.fields[0])
            assert np.array_equal(trajectories.scalars(i), expected.scalars[0])


def test_seeds_of_a_split_follow_each_other_from_a_multiple_of_many():
    seeds = [trajectory_seed(SEED, "train", i) for i in range(3)]
    assert np.diff(seeds).tolist() == [1, 1]
    assert all(seeds[0] % n == 0 for n in range(1, 17))
    assert len({trajectory_seed(s, split, 0) for s in range(50) for split in SPLITS}) == 150
    assert trajectory_seed(2**40, "test", 10**5) < 2**53


def test_the_files_do_not_depend_on_the_batch_size(tmp_path):
    first = make(tmp_path / "a/waves", batch_size=1).path
    for batch_size in (3, 100):
        assert_same_files(first, make(tmp_path / f"{batch_size}/waves", batch_size=batch_size).path)


def test_statistics_are_those_of_the_training_split(tmp_path):
    path = make(tmp_path / "waves").path
    computed = compute_statistics(open_split(path, "train"))
    stats = yaml.safe_load((path / "stats.yaml").read_text())
    assert stats["std"]["u"] == float(f"{computed.std[0]:.4E}")
    assert stats["mean_delta"]["v"] == float(f"{computed.mean_delta[1]:.4E}")


def test_a_complete_data_set_is_found_and_left_alone(tmp_path):
    path = make(tmp_path / "waves").path
    before = {name: (path / name).stat().st_mtime_ns for name in files_of(path)}
    simulator = Waves()
    summary = make(path, simulator)
    assert summary.was_complete
    assert summary.n_simulated == 0
    assert not simulator._asked
    assert {name: (path / name).stat().st_mtime_ns for name in files_of(path)} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed: 5 there, 6 now"),
        ({"simulator": Waves(speed=2.0)}, r"settings\.speed: 1\.0 there, 2\.0 now"),
        ({"splits": SPLITS | {"valid": 4}}, r"splits\.valid: 2 there, 4 now"),
    ],
)
def test_a_data_set_made_with_other_settings_is_left_alone(tmp_path, change, message):
    path = make(tmp_path / "waves").path
    before = {name: (path / name).read_bytes() for name in files_of(path)}
    with pytest.raises(DataError, match=rf"waves: there is a data set made with other settings(.|\n)*{message}"):
        make(path, **change)
    assert {name: (path / name).read_bytes() for name in files_of(path)} == before


def test_data_that_no_simulation_made_are_left_alone(make_dataset):
    path = make_dataset()
    before = files_of(path)
    with pytest.raises(DataError, match="data are there that no simulation made"):
        make(path)
    assert files_of(path) == before


def test_a_data_set_with_a_missing_file_is_named(tmp_path):
    path = make(tmp_path / "waves").path
    (path / "data/valid/waves.hdf5").unlink()
    with pytest.raises(DataError, match=r"data/valid/waves\.hdf5 has None bytes, its manifest says"):
        make(path)


def test_a_rejected_trajectory_stops_it_and_costs_no_other(tmp_path):
    path, bad = tmp_path / "waves", trajectory_seed(SEED, "valid", 1)
    message = rf"split valid cannot be simulated with this seed .*\nseed {bad} blew up\n.*another seed"
    with pytest.raises(DataError, match=message):
        make(path, Waves(bad_seed=bad))
    with pytest.raises(DataError, match="an unfinished simulation made with other settings"):
        make(path, seed=6)
    assert make(path).n_simulated == 5  # once the simulator is mended
    assert_same_files(path, make(tmp_path / "undisturbed/waves").path)


@pytest.mark.parametrize("splits", [{"train": 0, "valid": 1}, {"train": 2, "val": 1}, {"train": 2, "test": -1}])
def test_impossible_splits_are_refused(tmp_path, splits):
    with pytest.raises(DataError, match="give numbers of trajectories of train, valid, test, train at least 1"):
        make(tmp_path / "waves", splits=splits)


def test_progress_counts_all_frames(tmp_path):
    seen: list[tuple[int, int]] = []
    make(tmp_path / "waves", batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 60)
    assert seen[-1] == (60, 60)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(seen))


class Interrupted(Exception):
    pass


def interrupt_after(n_frames: int):
    def progress(done: int, total: int) -> None:
        if done >= n_frames:
            raise Interrupted

    return progress


def test_what_is_done_is_not_done_again(tmp_path):
    path = tmp_path / "waves"
    with pytest.raises(Interrupted):
        make(path, batch_size=2, progress=interrupt_after(22))
    with pytest.raises(DataError, match="simulation is not complete"):
        describe(path)
    simulator, seen = Waves(), []
    summary = make(path, simulator, batch_size=3, progress=lambda done, total: seen.append(done))
    assert summary.n_simulated == sum(map(len, simulator._asked)) == 8
    assert seen[0] == 20
    assert_same_files(path, make(tmp_path / "undisturbed/waves").path)


def test_an_unfinished_simulation_with_other_settings_is_left_alone(tmp_path):
    path = tmp_path / "waves"
    with pytest.raises(Interrupted):
        make(path, batch_size=2, progress=interrupt_after(22))
    with pytest.raises(DataError, match="there is an unfinished simulation made with other settings"):
        make(path, seed=6)
    assert make(path).n_simulated == 8


def test_a_journal_line_that_was_cut_short_does_not_count(tmp_path):
    path = tmp_path / "waves"
    with pytest.raises(Interrupted):
        make(path, batch_size=2, progress=interrupt_after(22))
    with (path / PENDING_DIR / "journal.txt").open("a") as journal:
        journal.write("train 6")
    assert make(path).n_simulated == 8
    assert_same_files(path, make(tmp_path / "undisturbed/waves").path)


def test_killed_at_any_time_it_ends_with_the_same_files(tmp_path):
    """SIGKILL lands anywhere between the first file that is laid out and the last that is renamed."""
    splits = {"train": 24, "valid": 5, "test": 3}
    expected = make(tmp_path / "undisturbed/waves", splits=splits).path
    path, chance, context = tmp_path / "waves", random.Random(0), multiprocessing.get_context("fork")
    for _ in range(20):
        child = context.Process(target=make, args=(path, Waves(pause=0.005), splits), kwargs={"batch_size": 2})
        child.start()
        time.sleep(chance.uniform(0, 0.06))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    make(path, splits=splits, batch_size=3)
    assert_same_files(path, expected)


@pytest.mark.parametrize("victim", ["create_well_file", "write_statistics", "file_entry", "write_json"])
@pytest.mark.parametrize("call", [0, 1, 2])
def test_stopped_at_any_step_it_ends_with_the_same_files(tmp_path, monkeypatch, victim, call):
    import autocast.data.simulate as module

    path, original, calls = tmp_path / "waves", getattr(module, victim), []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == call + 1:
            raise Interrupted
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, victim, stop)
        try:
            make(path)
        except Interrupted:
            make(path)
    assert_same_files(path, make(tmp_path / "undisturbed/waves").path)


def test_stopped_between_two_renames_it_ends_with_the_same_files(tmp_path, monkeypatch):
    path, original, n_renames = tmp_path / "waves", Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal n_renames
        if target.suffix == ".hdf5":
            n_renames += 1
            if n_renames == 2:
                raise Interrupted
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Interrupted):
            make(path)
    assert len(list(path.glob("data/*/*"))) == 1
    assert make(path).n_simulated == 0
    assert_same_files(path, make(tmp_path / "undisturbed/waves").path)
