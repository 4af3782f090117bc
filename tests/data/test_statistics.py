from __future__ import annotations

import h5py
import numpy as np
import pytest
import yaml
from the_well.data.datasets import WellDataset
from the_well.data.normalization import ZScoreNormalization

from autocast.data.headers import describe
from autocast.data.splits import open_split
from autocast.data.statistics import Moments, compute_statistics, scalar_statistics
from autocast.data.stats_file import training_statistics
from autocast.errors import DataError


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def all_frames(path, split="train") -> list[np.ndarray]:
    trajectories = open_split(path, split)
    return [
        trajectories.read(i, 0, trajectories.n_steps(i)).astype(np.float64) for i in range(trajectories.n_trajectories)
    ]


def test_moments_do_not_depend_on_the_blocks():
    values = np.random.default_rng(0).normal(1e4, 1e-2, (1000, 2))
    moments = Moments(2)
    for block in np.split(values, [1, 7, 500, 501]):
        moments.add(block)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.std, values.std(axis=0), rtol=1e-7)
    np.testing.assert_allclose(moments.rms, np.sqrt(np.square(values).mean(axis=0)), rtol=1e-14)


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_statistics_are_those_of_all_frames(make_dataset, monkeypatch, block_bytes):
    monkeypatch.setattr("autocast.data.statistics.BLOCK_BYTES", block_bytes)
    path = make_dataset()
    found, frames = compute_statistics(open_split(path, "train")), all_frames(path)
    values = np.concatenate([f.reshape(-1, 2) for f in frames])
    deltas = np.concatenate([np.diff(f, axis=0).reshape(-1, 2) for f in frames])
    np.testing.assert_array_equal(found.minimum, values.min(axis=0))
    np.testing.assert_array_equal(found.maximum, values.max(axis=0))
    for suffix, x in (("", values), ("_delta", deltas)):
        np.testing.assert_allclose(getattr(found, f"mean{suffix}"), x.mean(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(getattr(found, f"std{suffix}"), x.std(axis=0), rtol=1e-9)
        np.testing.assert_allclose(getattr(found, f"rms{suffix}"), np.sqrt((x**2).mean(axis=0)), rtol=1e-9)


def test_the_file_has_five_digits_and_the_well_normalises_by_it(make_dataset):
    path = make_dataset()
    computed = training_statistics(describe(path), open_split(path, "train"))
    content = yaml.safe_load((path / "stats.yaml").read_text())
    assert set(content) == {"mean", "std", "rms", "mean_delta", "std_delta", "rms_delta", "min", "max"}
    assert content["std"]["v"] == float(f"{computed.std[1]:.4E}")
    assert set(content["rms"]) == {"u", "v", "depth"}
    assert set(content["rms_delta"]) == {"u", "v"}
    theirs = WellDataset(
        path=str(path), well_split_name="train", use_normalization=True, normalization_type=ZScoreNormalization
    )
    raw = open_split(path, "train").read(0, 0, 1)
    expected = (raw - computed.mean) / computed.std
    np.testing.assert_allclose(theirs[0]["input_fields"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("writable", [True, False])
def test_the_first_run_has_the_statistics_of_the_second(make_dataset, monkeypatch, writable):
    path = make_dataset()
    header, train = describe(path), open_split(path, "train")
    with monkeypatch.context() as patch:
        if not writable:
            patch.setattr("pathlib.Path.write_text", refuse)
        first = training_statistics(header, train).to_dict()
    training_statistics(header, train)
    second = training_statistics(header, train).to_dict()
    assert (first.pop("source"), second.pop("source")) == (
        "computed, written to stats.yaml" if writable else "computed, kept in memory (Permission denied)",
        "stats.yaml",
    )
    assert first == second


def test_a_name_that_yaml_would_misread_survives(make_dataset, spec):
    path = make_dataset(spec=spec(channel_names=("y", "1")))
    header, train = describe(path), open_split(path, "train")
    training_statistics(header, train)
    assert training_statistics(header, train).source == "stats.yaml"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["std"].pop("v"), "has no std of v"),
        (lambda c: c["mean"].update(u=[1.0, 2.0]), r"as mean of u; expected 1 finite numbers"),
        (lambda c: c["mean"].update(u=float("nan")), "as mean of u"),
        (lambda c: c.pop("mean_delta"), "has no mean_delta of u"),
    ],
)
def test_a_file_that_does_not_fit_is_left_alone(make_dataset, change, why):
    path = make_dataset()
    header, train = describe(path), open_split(path, "train")
    right = training_statistics(header, train)
    content = yaml.safe_load((path / "stats.yaml").read_text())
    change(content)
    (path / "stats.yaml").write_text(yaml.safe_dump(content))
    before = (path / "stats.yaml").read_bytes()
    found = training_statistics(header, train)
    assert found.source.startswith("computed, because stats.yaml")
    assert why.split(";")[0] in found.source
    np.testing.assert_array_equal(found.std, right.std)
    assert (path / "stats.yaml").read_bytes() == before


def test_a_file_without_rms_is_enough(make_dataset):
    path = make_dataset()
    header, train = describe(path), open_split(path, "train")
    right = training_statistics(header, train)
    content = yaml.safe_load((path / "stats.yaml").read_text())
    del content["rms"], content["rms_delta"]
    (path / "stats.yaml").write_text(yaml.safe_dump(content))
    found = training_statistics(header, train)
    assert found.source == "stats.yaml"
    np.testing.assert_allclose(found.rms, right.rms, rtol=1e-4)


def test_a_range_that_a_file_of_another_tool_lacks_is_computed(make_dataset):
    path = make_dataset()
    header, train = describe(path), open_split(path, "train")
    right = training_statistics(header, train)
    content = yaml.safe_load((path / "stats.yaml").read_text())
    del content["min"], content["max"]
    (path / "stats.yaml").write_text(yaml.safe_dump(content))
    assert training_statistics(header, train).source == "stats.yaml"
    found = training_statistics(header, train, with_range=True)
    assert found.source == "computed, because stats.yaml has no min and max"
    for name in ("minimum", "maximum", "constant_minimum", "constant_maximum"):
        np.testing.assert_array_equal(getattr(found, name), getattr(right, name))


def test_statistics_stay_in_memory_where_nothing_can_be_written(make_dataset, monkeypatch):
    path = make_dataset()
    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    found = training_statistics(describe(path), open_split(path, "train"))
    assert found.source == "computed, kept in memory (Permission denied)"
    assert not (path / "stats.yaml").exists()


def test_the_first_value_that_is_not_finite_is_named(make_dataset):
    path = make_dataset()
    with h5py.File(path / "data/train/part1.hdf5", "r+") as h:
        h["t0_fields/v"][1, 4, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"data set toy: .*part1\.hdf5, trajectory 1, step 4, field v: nan is not fin"):
        compute_statistics(open_split(path, "train"))


def test_scalar_statistics_are_over_trajectories(make_dataset):
    train = open_split(make_dataset(), "train")
    values = np.stack([train.scalars(i) for i in range(5)]).astype(np.float64)
    mean, std = scalar_statistics(train)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(std, values.std(axis=0))
