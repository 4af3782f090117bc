from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from autocast.data.headers import describe
from autocast.data.splits import open_file, open_split
from autocast.data.well_writer import create_well_file, well_file
from autocast.errors import DataError


def is_list_of(value, kind) -> bool:
    return isinstance(value, list | np.ndarray) and all(isinstance(entry, kind) for entry in value)


def check_format(h: h5py.File) -> None:
    """The rules of The Well's format checkers, in our words."""
    assert isinstance(h.attrs["dataset_name"], str)
    assert isinstance(h.attrs["grid_type"], str)
    assert isinstance(h.attrs["n_trajectories"], int | np.integer)
    assert int(h.attrs["n_spatial_dims"]) > 0
    assert all(parameter in h.attrs for parameter in h.attrs["simulation_parameters"])
    dims = h["dimensions"]
    axes = dims.attrs["spatial_dims"]
    assert is_list_of(axes, str)
    assert len(axes) == h.attrs["n_spatial_dims"]
    assert dims["time"].attrs["time_varying"]
    for item in (dims["time"], *(dims[axis] for axis in axes), *h["scalars"].values()):
        check_flags(item)
    shape = {axis: dims[axis].shape[-1] for axis in axes}
    for order in range(3):
        check_fields(h, order, shape)
    assert is_list_of(h["scalars"].attrs["field_names"], str)
    for scalar in h["scalars"].values():
        assert scalar.ndim == scalar.attrs["sample_varying"] + scalar.attrs["time_varying"]
    for condition in h["boundary_conditions"].values():
        check_flags(condition)
        assert condition.attrs["bc_type"] == condition.attrs["bc_type"].upper()
        assert is_list_of(condition.attrs["associated_fields"], str)
        assert is_list_of(condition.attrs["associated_dims"], str)
        assert condition["mask"].shape == tuple(shape[axis] for axis in condition.attrs["associated_dims"])
        assert condition["mask"].dtype == bool


def check_flags(item) -> None:
    for flag in ("sample_varying", "time_varying"):
        assert isinstance(item.attrs[flag], bool | np.bool_)


def check_fields(h: h5py.File, order: int, shape: dict[str, int]) -> None:
    group = h[f"t{order}_fields"]
    assert is_list_of(group.attrs["field_names"], str)
    assert set(group.attrs["field_names"]) == set(group)
    for field in group.values():
        check_flags(field)
        assert is_list_of(field.attrs["dim_varying"], bool | np.bool_)
        assert field.dtype == np.float32
        leading = (h.attrs["n_trajectories"],) * bool(field.attrs["sample_varying"])
        leading += h["dimensions/time"].shape * bool(field.attrs["time_varying"])
        varying = zip(shape.values(), field.attrs["dim_varying"], strict=True)
        assert field.shape == leading + tuple(n for n, flag in varying if flag) + (len(shape),) * order


@pytest.mark.parametrize("d", [1, 2, 3])
def test_files_keep_to_the_format(make_dataset, spec, d):
    path = make_dataset(spec=spec(d))
    with h5py.File(path / "data/train/part0.hdf5") as h:
        check_format(h)


def test_files_without_scalars_and_constants_keep_to_the_format(make_dataset, spec):
    path = make_dataset(spec=spec(scalar_names=(), constant_field_names=()))
    with h5py.File(path / "data/train/part0.hdf5") as h:
        check_format(h)
    train = open_split(path, "train")
    assert train.constant_fields(0) is None
    assert train.scalars(0).shape == (0,)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_what_is_written_is_read(tmp_path, spec, fields, d):
    toy, rng = spec(d), np.random.default_rng(d)
    values, depth = fields(rng, 7, toy), fields(rng, 1, toy, 1)[0]
    with well_file(tmp_path / "a.hdf5", toy, n_trajectories=2, n_steps=7, parameters={"F": 0.5}) as writer:
        writer.write(1, values[:4])
        writer.write(1, values[4:], start=4)
        writer.write_scalars(1, [0.25, -3])
        writer.write_constant_fields(1, depth)
    trajectories = open_file(tmp_path / "a.hdf5")
    assert trajectories.spec == toy
    assert np.array_equal(trajectories.read(1, 0, 7), values)
    assert np.array_equal(trajectories.read(1, 1, 7, 2), values[1:7:2])
    assert np.array_equal(trajectories.constant_fields(1), depth)
    assert trajectories.scalars(1).tolist() == [0.25, -3]
    assert not trajectories.read(0, 0, 7).any()
    assert trajectories.read(1, 0, 7).dtype == np.float32


def test_the_order_of_writing_leaves_no_trace(tmp_path, spec, fields):
    toy, values = spec(), fields(np.random.default_rng(0), 6, spec())
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        with well_file(tmp_path / name, toy, n_trajectories=3, n_steps=6) as writer:
            for i in order:
                writer.write(i, values + i)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_writer_leaves_no_file(tmp_path, spec):
    with pytest.raises(ZeroDivisionError), well_file(tmp_path / "a.hdf5", spec(), n_trajectories=1, n_steps=2):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_a_chunk_holds_one_frame_or_several_small_ones(tmp_path, spec):
    def chunks(grid_shape: tuple[int, ...]) -> tuple[int, ...]:
        create_well_file(tmp_path / "a", spec(len(grid_shape), grid_shape=grid_shape), n_trajectories=2, n_steps=9)
        with h5py.File(tmp_path / "a") as h:
            assert h["t0_fields/u"].compression is None
            return h["t0_fields/u"].chunks

    assert chunks((128, 128)) == (1, 1, 128, 128)
    assert chunks((32, 32)) == (1, 4, 32, 32)
    assert chunks((16,)) == (1, 9, 16)


def test_names_that_hdf5_cannot_hold_are_refused(tmp_path, spec):
    for names in (("u", "u"), ("u", "a/b"), ("u", "depth")):
        with pytest.raises(DataError, match="must be unique"):
            create_well_file(Path(tmp_path / "a"), spec(channel_names=names), n_trajectories=1, n_steps=1)


def test_a_unit_and_exact_numbers_survive(make_dataset, spec):
    assert describe(make_dataset()).spec == spec()
