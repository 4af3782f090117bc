from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from the_well.data.datasets import WellDataset

from autocast.data.headers import describe
from autocast.data.simulate import simulate_dataset, trajectory_seed
from autocast.data.splits import open_file, open_split
from autocast.data.stats_file import training_statistics
from autocast.data.well_header import read_well_header
from autocast.data.windows import Steps, WindowDataset
from autocast.errors import DataError
from autocast.simulators.advection_diffusion import AdvectionDiffusion
from autocast.simulators.reaction_diffusion import ReactionDiffusion

STRINGS = h5py.string_dtype()


def add_field(h: h5py.File, order: int, name: str, values: np.ndarray, *, dims: list[bool], sample=True, time=True):
    field = h[f"t{order}_fields"].create_dataset(name, data=values.astype("f4"))
    field.attrs.update({"dim_varying": dims, "sample_varying": sample, "time_varying": time})
    names = [*h[f"t{order}_fields"].attrs["field_names"], name]
    h[f"t{order}_fields"].attrs["field_names"] = np.array(names, dtype=STRINGS)


def write_foreign_file(file: Path, n: int, n_steps: int, seed: int) -> None:
    """As others write them: vectors, tensors, constants of every kind, scalars that vary, no attributes of ours."""
    rng = np.random.default_rng(seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    grid = (8, 12)
    with h5py.File(file, "w") as h:
        h.attrs.update({"dataset_name": "foreign", "grid_type": "cartesian", "n_spatial_dims": 2, "n_trajectories": n})
        h.attrs["simulation_parameters"] = ["f"]
        h.attrs["f"] = 0.5
        dims = h.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        axes = {"time": 0.25 * np.arange(n_steps), "x": np.arange(8) / 4, "y": np.linspace(0, 3, 12)}
        for name, values in axes.items():
            dims.create_dataset(name, data=values.astype("f4")).attrs.update(
                {"sample_varying": False, "time_varying": name == "time"}
            )
        conditions = h.create_group("boundary_conditions")
        for axis, kind, length in (("x", "PERIODIC", 8), ("y", "WALL", 12)):
            group = conditions.create_group(f"{axis}_side")
            group.attrs.update({"associated_dims": [axis], "bc_type": kind})
            group.attrs["associated_fields"] = np.array([], dtype=STRINGS)
            group.attrs.update({"sample_varying": False, "time_varying": False})
            group.create_dataset("mask", data=np.isin(np.arange(length), [0, length - 1]))
        scalars = h.create_group("scalars")
        scalars.attrs["field_names"] = ["f", "forcing", "g"]
        for name, values, sample, time in (
            ("f", np.float32(0.5), False, False),
            ("forcing", rng.normal(size=n_steps).astype("f4"), False, True),
            ("g", rng.normal(size=n).astype("f4"), True, False),
        ):
            scalars.create_dataset(name, data=values).attrs.update({"sample_varying": sample, "time_varying": time})
        for order in range(3):
            h.create_group(f"t{order}_fields").attrs["field_names"] = np.array([], dtype=STRINGS)
        both = [True, True]
        add_field(h, 0, "q", rng.normal(size=(n, n_steps, *grid)), dims=both)
        add_field(h, 0, "depth", rng.normal(size=grid), dims=both, sample=False, time=False)
        add_field(h, 0, "p", rng.normal(size=(n_steps, *grid)), dims=both, sample=False)
        add_field(h, 1, "velocity", rng.normal(size=(n, n_steps, *grid, 2)), dims=both)
        add_field(h, 1, "wind", rng.normal(size=(n, *grid, 2)), dims=both, time=False)
        add_field(h, 2, "stress", rng.normal(size=(n, n_steps, *grid, 2, 2)), dims=both)
        for name in ("velocity", "stress", "wind"):
            order = 2 if name == "stress" else 1
            h[f"t{order}_fields"][name].attrs.update({"symmetric": False, "antisymmetric": False})


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    for split, files in {"train": [(2, 9), (3, 7)], "valid": [(1, 9)], "test": [(2, 8)]}.items():
        for part, (n, n_steps) in enumerate(files):
            write_foreign_file(tmp_path / f"foreign/data/{split}/{part}.h5", n, n_steps, seed=len(split) + part)
    return tmp_path / "foreign"


def assert_same_windows(path: Path, split: str, n_input: int, n_output: int, stride: int = 1) -> None:
    theirs = WellDataset(
        path=str(path),
        well_split_name=split,
        n_steps_input=n_input,
        n_steps_output=n_output,
        min_dt_stride=stride,
        max_dt_stride=stride,
    )
    ours = WindowDataset(open_split(path, split), Steps(n_input, n_output, stride))
    assert len(ours) == len(theirs)
    batch = ours[list(range(len(ours)))]
    for i in range(len(ours)):
        expected = theirs[i]
        assert torch.equal(batch.input_fields[i], expected["input_fields"])
        assert torch.equal(batch.output_fields[i], expected["output_fields"])
        if batch.scalars is not None:
            assert torch.equal(batch.scalars[i], expected["constant_scalars"])
        if batch.constant_fields is not None:
            assert torch.equal(batch.constant_fields[i], expected["constant_fields"])


@pytest.mark.parametrize(("n_input", "n_output", "stride"), [(1, 1, 1), (2, 3, 1), (1, 2, 3)])
def test_windows_of_our_files_are_those_of_the_well(make_dataset, n_input, n_output, stride):
    path = make_dataset()
    for split in ("train", "valid", "test"):
        assert_same_windows(path, split, n_input, n_output, stride)


@pytest.mark.parametrize(
    "simulator",
    [
        ReactionDiffusion(grid_shape=(16, 24), extent=(20.0, 30.0), n_frames=6, burn_in=1.0),
        AdvectionDiffusion(grid_shape=(16, 16), n_frames=6),
    ],
)
def test_windows_of_simulated_data_are_those_of_the_well(tmp_path, simulator):
    path = simulate_dataset(simulator, tmp_path / "simulated", splits={"train": 3, "valid": 1, "test": 2}, seed=4).path
    for split in ("train", "valid", "test"):
        assert_same_windows(path, split, 2, 3)
    assert_same_windows(path, "train", 1, 2, stride=2)
    frames = open_split(path, "train").read(1, 0, 6)
    expected = simulator.simulate([trajectory_seed(4, "train", 1)]).fields[0].numpy()
    np.testing.assert_array_equal(frames, expected)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("d", [1, 2, 3])
def test_windows_agree_in_one_to_three_dimensions(make_dataset, spec, d):
    path = make_dataset(spec=spec(d), train=[(2, 5), (1, 6)])
    assert_same_windows(path, "train", 2, 1)


def test_windows_of_foreign_files_are_those_of_the_well(foreign):
    assert_same_windows(foreign, "train", 3, 2)
    assert_same_windows(foreign, "test", 1, 2, stride=2)


def test_channels_are_scalars_then_vectors_then_tensors(foreign):
    spec = describe(foreign).spec
    assert spec.channel_names == (
        *("q", "p", "velocity_x", "velocity_y"),
        *("stress_xx", "stress_xy", "stress_yx", "stress_yy"),
    )
    assert spec.constant_field_names == ("depth", "wind_x", "wind_y")
    assert spec.scalar_names == ("f", "g")


def test_a_foreign_header_gives_extent_boundary_and_time_step(foreign):
    header = read_well_header(foreign / "data/train/0.h5")
    assert header.extent == (2.0, 3.0)
    assert header.boundary == ("periodic", "wall")
    assert header.time_step == 0.25
    assert header.varying_scalar_names == ("forcing",)


def test_a_condition_with_an_empty_mask_still_holds(foreign):
    file = foreign / "data/train/0.h5"
    with h5py.File(file, "r+") as h:
        h["boundary_conditions/x_side/mask"][...] = False
    assert read_well_header(file).boundary == ("periodic", "wall")


def test_an_obstacle_inside_does_not_bound_an_axis(foreign):
    file = foreign / "data/train/0.h5"
    with h5py.File(file, "r+") as h:
        del h["boundary_conditions/y_side"]
        group = h["boundary_conditions"].create_group("obstacle")
        group.attrs.update({"associated_dims": ["x", "y"], "bc_type": "WALL"})
        mask = np.zeros((8, 12), bool)
        mask[3:5, 4:6] = True
        group.create_dataset("mask", data=mask)
    assert read_well_header(file).boundary == ("periodic", "open")


def test_an_axis_on_which_a_field_does_not_depend_is_repeated(foreign):
    file = foreign / "data/train/0.h5"
    values = np.arange(2 * 9 * 8).reshape(2, 9, 8)
    with h5py.File(file, "r+") as h:
        add_field(h, 0, "ridge", values, dims=[True, False])
    trajectories = open_file(file)
    ridge = trajectories.read(1, 2, 7)[..., trajectories.spec.channel_names.index("ridge")]
    assert np.array_equal(ridge, np.broadcast_to(values[1, 2:7, :, None], (5, 8, 12)))


def test_a_trajectory_names_its_file(foreign):
    assert open_split(foreign, "train").name(2) == f"{foreign}/data/train/1.h5, trajectory 0"


def test_reading_outside_a_trajectory_is_an_error(foreign):
    trajectories = open_split(foreign, "train")
    for i, start, stop in ((5, 0, 1), (-1, 0, 1), (2, 0, 8), (2, 3, 3)):
        with pytest.raises(IndexError):
            trajectories.read(i, start, stop)


def test_trajectories_can_be_sent_to_another_process(foreign):
    trajectories = open_split(foreign, "train")
    trajectories.read(0, 0, 1)
    again = pickle.loads(pickle.dumps(trajectories))
    assert np.array_equal(again.read(3, 1, 4), trajectories.read(3, 1, 4))


def _read_in_child(trajectories, pipe) -> None:
    pipe.send(trajectories.read(3, 1, 4))


def test_a_forked_process_opens_its_own_handles(foreign):
    trajectories = open_split(foreign, "train")
    expected = trajectories.read(3, 1, 4)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read_in_child, args=(trajectories, theirs))
    child.start()
    assert np.array_equal(ours.recv(), expected)
    child.join()
    assert np.array_equal(trajectories.read(3, 1, 4), expected)


def test_a_truncated_file_is_named(make_dataset):
    path = make_dataset()
    file = path / "data/train/part1.hdf5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"data set toy: .*part1\.hdf5: damaged"):
        describe(path)


def test_a_file_of_something_else_is_named(make_dataset):
    path = make_dataset()
    (path / "data/valid/part0.hdf5").write_text("hello")
    with pytest.raises(DataError, match=r"data set toy: .*valid/part0\.hdf5: damaged, or not an HDF5 file"):
        describe(path)


def test_a_missing_group_is_named(make_dataset):
    path = make_dataset()
    with h5py.File(path / "data/train/part0.hdf5", "r+") as h:
        del h["t2_fields"]
    with pytest.raises(DataError, match=r"data set toy: .*part0\.hdf5: not in The Well's HDF5 layout.*t2_fields"):
        describe(path)


def test_a_field_of_a_wrong_shape_or_type_is_named(foreign):
    file = foreign / "data/train/0.h5"
    with h5py.File(file, "r+") as h:
        add_field(h, 0, "short", np.zeros((2, 8, 8, 12)), dims=[True, True])
    with pytest.raises(DataError, match=r"0\.h5: field t0_fields/short has shape \(2, 8, 8, 12\).*\(2, 9, 8, 12\)"):
        describe(foreign)
    with h5py.File(file, "r+") as h:
        del h["t0_fields/short"]
        h["t0_fields/short"] = np.zeros((2, 9, 8, 12), int)
        h["t0_fields/short"].attrs.update({"dim_varying": [True] * 2, "sample_varying": True, "time_varying": True})
    with pytest.raises(DataError, match=r"short has dtype int64; it must be a float"):
        describe(foreign)


def test_files_that_do_not_belong_together_are_named(make_dataset, spec):
    path = make_dataset()
    other = make_dataset(name="other", spec=spec(dataset_name="toy", channel_names=("u", "w")))
    (other / "data/train/part0.hdf5").rename(path / "data/train/part9.hdf5")
    with pytest.raises(DataError, match=r"part9\.hdf5 has fields .*'w'.*All files of a data set must agree"):
        describe(path)


def test_statistics_of_vectors_and_tensors_survive_the_file(foreign):
    header, train = describe(foreign), open_split(foreign, "train")
    first = training_statistics(header, train)
    second = training_statistics(header, train)
    assert (first.source, second.source) == ("computed, written to stats.yaml", "stats.yaml")
    for name, value in vars(first).items():
        if name != "source":
            np.testing.assert_allclose(getattr(second, name), value, rtol=1e-4, atol=1e-4)
