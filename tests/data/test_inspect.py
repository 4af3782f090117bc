from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import yaml

from autocast.data.headers import describe
from autocast.data.inspect import Finding, inspect_dataset
from autocast.data.splits import open_split
from autocast.data.stats_file import training_statistics


def edit(path, split: str, name: str, place, values) -> None:
    with h5py.File(path / f"data/{split}/part0.hdf5", "r+") as h:
        h[f"t0_fields/{name}"][place] = values


def found(path, check: str) -> list[Finding]:
    return [finding for finding in inspect_dataset(path).findings if finding.check == check]


def test_a_sound_data_set_has_no_findings(make_dataset):
    path = make_dataset()
    training_statistics(describe(path), open_split(path, "train"))
    report = inspect_dataset(path)
    assert report.findings == []
    assert report.statistics == "stats.yaml"


def test_the_table_says_what_is_there(make_dataset, spec):
    path = make_dataset()
    report = inspect_dataset(path)
    train = report.splits["train"]
    assert (train.n_trajectories, train.n_steps, train.n_files) == (5, (7, 9), 2)
    assert report.spec == spec()
    split = open_split(path, "train")
    u = np.concatenate([split.read(i, 0, split.n_steps(i))[..., 0].ravel() for i in range(5)])
    channel = train.channels[0]
    assert (channel.name, channel.unit) == ("u", "m/s")
    assert (channel.minimum, channel.maximum) == (u.min(), u.max())
    assert channel.mean == pytest.approx(u.mean(dtype=np.float64))
    assert channel.std == pytest.approx(u.std(dtype=np.float64))
    nu = [split.scalars(i)[0] for i in range(5)]
    assert train.scalars["nu"] == (min(nu), max(nu))


def test_the_report_is_plain_json(make_dataset):
    path = make_dataset()
    edit(path, "valid", "u", slice(None), np.nan)
    values = json.loads(json.dumps(inspect_dataset(path).to_dict(), allow_nan=False))
    assert values["splits"]["train"]["n_trajectories"] == 5
    assert values["findings"][0]["check"] == "not finite"


def test_values_that_are_not_finite_are_counted_and_placed(make_dataset):
    path = make_dataset()
    edit(path, "valid", "v", (1, 4, 0, 0), np.nan)
    edit(path, "valid", "u", (1, 8), np.inf)
    (finding,) = found(path, "not finite")
    assert finding.severity == "error"
    assert finding.message == (
        "valid: 2 frames with values that are not finite: valid trajectory 1 step 4 (v); valid trajectory 1 step 8 (u)"
    )


def test_constant_and_repeated_frames_are_found(make_dataset):
    path = make_dataset()
    edit(path, "test", "u", (0, 3), 7.0)
    with h5py.File(path / "data/test/part0.hdf5", "r+") as h:
        h["t0_fields/v"][1, 5:9] = h["t0_fields/v"][1, 4]
    assert (
        "1 frames that are the same everywhere: test trajectory 0 step 3 (u)"
        in found(path, "constant frames")[0].message
    )
    assert "4 frames equal to the one before: test trajectory 1 step 5 (v)" in found(path, "repeated frames")[0].message


def test_many_places_are_counted_and_few_are_named(make_dataset):
    path = make_dataset()
    edit(path, "test", "u", 0, 7.0)
    (finding,) = found(path, "constant frames")
    assert finding.message.endswith("and 3 more")


def test_a_constant_first_frame_is_a_usual_initial_field(make_dataset):
    path = make_dataset()
    edit(path, "test", "u", (0, 0), 7.0)
    assert not found(path, "constant frames")


def test_a_jump_of_the_mean_is_found(make_dataset):
    path = make_dataset(train=[(1, 60)], valid=[(1, 9)], test=[(1, 9)])
    edit(path, "train", "u", (0, 31), 1e3 + np.arange(96).reshape(8, 12))
    (finding,) = found(path, "outliers")
    assert "train trajectory 0 step 31 (u)" in finding.message


def test_initial_fields_in_two_splits_are_an_error(make_dataset):
    path = make_dataset()
    with h5py.File(path / "data/train/part0.hdf5") as h, h5py.File(path / "data/test/part0.hdf5", "r+") as other:
        for name in ("u", "v"):
            other[f"t0_fields/{name}"][1, 0] = h[f"t0_fields/{name}"][2, 0]
    (finding,) = found(path, "shared initial fields")
    assert finding.severity == "error"
    assert "train 2 = test 1" in finding.message


def test_initial_fields_that_occur_twice_are_a_warning(make_dataset):
    path = make_dataset()
    with h5py.File(path / "data/train/part0.hdf5", "r+") as h:
        for name in ("u", "v"):
            h[f"t0_fields/{name}"][1, 0] = h[f"t0_fields/{name}"][2, 0]
    assert [finding.severity for finding in found(path, "repeated initial fields")] == ["warning"]


def test_statistics_of_other_data_are_found(make_dataset):
    path = make_dataset()
    training_statistics(describe(path), open_split(path, "train"))
    stats = yaml.safe_load((path / "stats.yaml").read_text())
    stats["std"]["v"] *= 1.5
    (path / "stats.yaml").write_text(yaml.safe_dump(stats))
    (finding,) = found(path, "statistics")
    assert "says std" in finding.message
    del stats["mean"]["u"]
    (path / "stats.yaml").write_text(yaml.safe_dump(stats))
    (finding,) = found(path, "statistics")
    assert "stats.yaml has no mean of u" in finding.message


def test_missing_splits_are_named(make_dataset):
    path = make_dataset(train=[(1, 4)])
    assert [finding.message for finding in found(path, "missing split")] == [
        "there is no split 'valid'",
        "there is no split 'test'",
    ]


def test_progress_counts_trajectories(make_dataset):
    seen = []
    inspect_dataset(make_dataset(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 9) for i in range(9)]
