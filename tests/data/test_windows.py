from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from autocast.data.splits import open_split
from autocast.data.windows import Steps, WindowDataset
from autocast.errors import DataError


def test_windows_run_file_after_file_and_start_after_start(make_dataset):
    windows = WindowDataset(open_split(make_dataset(train=[(2, 7), (1, 6)]), "train"), Steps(2, 3))
    trajectories, starts = windows.locate(range(len(windows)))
    assert trajectories.tolist() == [0] * 3 + [1] * 3 + [2] * 2
    assert starts.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_window_is_a_cut_of_its_trajectory(make_dataset):
    train = open_split(make_dataset(), "train")
    windows = WindowDataset(train, Steps(1, 2, stride=2))
    batch = windows[[16, 3, 20]]
    for row in range(3):
        i, start = int(batch.trajectory[row]), int(batch.start[row])
        frames = train.read(i, start, start + 5, 2)
        assert np.array_equal(batch.input_fields[row], frames[:1])
        assert np.array_equal(batch.output_fields[row], frames[1:])
        assert np.array_equal(batch.scalars[row], train.scalars(i))
        assert np.array_equal(batch.constant_fields[row], train.constant_fields(i))


@pytest.mark.parametrize("in_memory", [False, True])
def test_several_windows_are_read_one_after_the_other(make_dataset, in_memory):
    train = open_split(make_dataset(), "train")
    windows = WindowDataset(train, Steps(1, 2, n_windows=2), in_memory=in_memory)
    assert windows.steps.span == 5
    batch = windows[[1]]
    assert batch.output_fields.shape[1] == 4
    i, start = int(batch.trajectory[0]), int(batch.start[0])
    assert np.array_equal(batch.output_fields[0], train.read(i, start + 1, start + 5, 1))
    assert torch.equal(batch.first_outputs(2).output_fields, batch.output_fields[:, :2])


def test_too_many_windows_are_named(make_dataset):
    with pytest.raises(DataError, match=r"2 output steps in 3 windows .* need 8. Give smaller training.n_windows, "):
        WindowDataset(open_split(make_dataset(), "train"), Steps(2, 2, n_windows=3))


@pytest.mark.parametrize("stride", [1, 2])
def test_memory_and_disk_give_the_same(make_dataset, stride):
    path = make_dataset()
    on_disk, in_memory = (
        WindowDataset(open_split(path, "train"), Steps(2, 1, stride), in_memory=flag) for flag in (False, True)
    )
    indices = np.random.default_rng(0).permutation(len(on_disk))[:9].tolist()
    for name, value in vars(on_disk[indices]).items():
        assert torch.equal(value, getattr(in_memory[indices], name)), name


@pytest.mark.parametrize("in_memory", [False, True])
def test_batches_are_contiguous(make_dataset, in_memory):
    batch = WindowDataset(open_split(make_dataset(), "train"), Steps(2, 1), in_memory=in_memory)[[3, 1]]
    assert batch.input_fields.shape == (2, 2, 8, 12, 2)
    assert batch.output_fields.shape == (2, 1, 8, 12, 2)
    assert batch.input_fields.is_contiguous()
    assert batch.output_fields.is_contiguous()


def test_large_constant_fields_are_read_when_needed(make_dataset, monkeypatch):
    path = make_dataset()
    expected = WindowDataset(open_split(path, "train"), Steps(1, 1))[[30, 2]].constant_fields
    monkeypatch.setattr("autocast.data.windows._Constants.MAX_FIELD_BYTES", 0)
    assert torch.equal(WindowDataset(open_split(path, "train"), Steps(1, 1))[[30, 2]].constant_fields, expected)


def test_data_without_constants_have_none(make_dataset, spec):
    path = make_dataset(spec=spec(scalar_names=(), constant_field_names=()))
    batch = WindowDataset(open_split(path, "train"), Steps(1, 1))[[0]]
    assert batch.scalars is None
    assert batch.constant_fields is None


def test_a_trajectory_that_is_too_short_is_named(make_dataset):
    with pytest.raises(DataError, match=r"part1\.hdf5, trajectory 0 has 7 frames; 4 input and 4 output steps.* need 8"):
        WindowDataset(open_split(make_dataset(), "train"), Steps(4, 4))


def test_an_index_outside_is_an_error(make_dataset):
    windows = WindowDataset(open_split(make_dataset(), "valid"), Steps(1, 1))
    for index in (-1, 16):
        with pytest.raises(IndexError):
            windows[[index]]


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_value_that_is_not_finite_is_named(make_dataset, in_memory):
    path = make_dataset()
    with h5py.File(path / "data/valid/part0.hdf5", "r+") as h:
        h["t0_fields/u"][1, 6, 0, 0] = np.inf
    with pytest.raises(DataError, match="trajectory 1, step 6, field u: inf is not finite"):
        WindowDataset(open_split(path, "valid"), Steps(1, 1, stride=2), in_memory=in_memory)[range(14)]


def test_a_batch_is_split_with_all_that_is_known_of_its_windows(make_dataset):
    batch = WindowDataset(open_split(make_dataset(), "train"), Steps(1, 2))[[0, 3, 4]]
    first, last = batch.split(2)
    assert (first.size, last.size) == (2, 1)
    for name in ("input_fields", "output_fields", "scalars", "constant_fields", "trajectory", "start"):
        whole = getattr(batch, name)
        assert torch.equal(torch.cat([getattr(first, name), getattr(last, name)]), whole), name
