from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from autocast.data.datamodule import FieldDataModule
from autocast.data.headers import describe
from autocast.data.splits import open_file, open_split
from autocast.data.torch_archive import read_tensor_headers
from autocast.errors import DataError

GRIDS = {1: (12,), 2: (8, 12), 3: (4, 6, 8)}


def arrays(n: int, d: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator, grid = torch.Generator().manual_seed(seed), GRIDS[d]
    return {
        "data": torch.randn(n, 7, *grid, 2, generator=generator),
        "constant_scalars": torch.randn(n, 3, generator=generator),
        "constant_fields": torch.randn(n, *grid, 1, generator=generator),
    }


def write_folder(path: Path, kind: str = "pt", d: int = 2, stats: dict | None = None) -> Path:
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        (path / split).mkdir(parents=True)
        content = arrays(n, d, seed=n)
        if kind == "pt":
            torch.save(content, path / split / "data.pt")
        else:
            with h5py.File(path / split / "data.h5", "w") as h:
                for name, value in content.items():
                    h[name] = value.numpy()
    if stats is not None:
        (path / "stats.yml").write_text(yaml.safe_dump(stats))
    return path


def stats_of(names: list[str]) -> dict:
    values = {
        "mean": {"A": 0.5, "B": -0.5, "depth": 0.1},
        "std": {"A": 2.0, "B": 3.0, "depth": 1.0},
        "mean_delta": {"A": 0.0, "B": 0.0},
        "std_delta": {"A": 1.0, "B": 1.0},
    }
    return {"stats": values, "core_field_names": names, "constant_field_names": ["depth"]}


@pytest.mark.parametrize("kind", ["pt", "h5"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_folder_is_described_and_read(tmp_path, kind, d):
    path, content = write_folder(tmp_path / "toy", kind, d), arrays(3, d, seed=3)
    header, test = describe(path), open_split(path, "test")
    assert header.layout == "torch"
    assert (header.splits["test"].n_trajectories, header.splits["test"].n_steps) == (3, 7)
    assert header.spec == test.spec
    assert test.spec.grid_shape == GRIDS[d]
    assert test.spec.scalar_names == ("scalar_0", "scalar_1", "scalar_2")
    assert np.array_equal(test.read(2, 1, 6, 2), content["data"][2, 1:6:2])
    assert np.array_equal(test.scalars(1), content["constant_scalars"][1])
    assert np.array_equal(test.constant_fields(1), content["constant_fields"][1])


@pytest.mark.parametrize("kind", ["pt", "h5"])
def test_names_and_statistics_come_from_the_stats_file(tmp_path, kind):
    path = write_folder(tmp_path / "toy", kind, stats=stats_of(["A", "B"]))
    datamodule = FieldDataModule(path)
    assert datamodule.spec.channel_names == ("A", "B")
    assert datamodule.spec.constant_field_names == ("depth",)
    assert datamodule.statistics.source == "stats.yml"
    assert datamodule.normaliser.std.tolist() == [2.0, 3.0]
    assert datamodule.statistics.rms[0] == pytest.approx(4.25**0.5)


def test_without_statistics_they_are_computed(tmp_path):
    datamodule = FieldDataModule(write_folder(tmp_path / "toy"))
    assert datamodule.statistics.mean == pytest.approx(
        arrays(4, seed=4)["data"].mean(dim=(0, 1, 2, 3)).numpy(), abs=1e-5
    )
    assert datamodule.statistics.source == "computed, written to stats.yaml"
    assert FieldDataModule(datamodule.header.path).statistics.source == "stats.yaml"


def test_a_stats_file_with_other_names_is_an_error(tmp_path):
    path = write_folder(tmp_path / "toy", stats=stats_of(["A", "B", "C"]))
    with pytest.raises(DataError, match=r"stats\.yml lists 3 core_field_names .* but the data have 2"):
        describe(path)


def test_shapes_are_read_without_torch(tmp_path):
    torch.save(arrays(4), tmp_path / "data.pt")
    headers = read_tensor_headers(tmp_path / "data.pt")
    assert {name: header.shape for name, header in headers.items()} == {
        "data": (4, 7, 8, 12, 2),
        "constant_scalars": (4, 3),
        "constant_fields": (4, 8, 12, 1),
    }
    assert headers["data"].storage == "FloatStorage"


def test_a_file_of_an_old_torch_is_described_without_shapes_and_read(tmp_path):
    path = write_folder(tmp_path / "toy")
    for split, n in (("train", 4), ("valid", 2), ("test", 3)):
        torch.save(arrays(n, seed=n), path / split / "data.pt", _use_new_zipfile_serialization=False)
    assert describe(path).spec is None
    assert FieldDataModule(path).spec.grid_shape == (8, 12)
    assert np.array_equal(open_split(path, "test").read(0, 0, 7), arrays(3, seed=3)["data"][0])
    assert [FieldDataModule(path).statistics.source for _ in range(2)] == [
        "computed, written to stats.yaml",
        "stats.yaml",
    ]


class Surprise:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    path = write_folder(tmp_path / "toy")
    torch.save({"data": Surprise()}, path / "train/data.pt")
    for read in (lambda: describe(path), lambda: open_split(path, "train")):
        with pytest.raises(DataError, match=r"data set toy: .*train/data\.pt: damaged, or not a dictionary of tensors"):
            read()
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fields": torch.zeros(2, 3, 4, 1)}, "has fields; expected 'data'"),
        ({"data": torch.zeros(2, 3, 4)}, r"has shape \(2, 3, 4\); expected \(N, T, \*S, C\)"),
    ],
)
def test_wrong_content_is_named(tmp_path, content, message):
    path = write_folder(tmp_path / "toy")
    torch.save(content, path / "train/data.pt")
    with pytest.raises(DataError, match=rf"data set toy: .*train/data\.pt: .*{message}"):
        describe(path)
    with pytest.raises(DataError, match=r"train/data\.pt: holds"):
        open_split(path, "train")


@pytest.mark.parametrize("kind", ["pt", "h5"])
def test_a_truncated_file_is_named(tmp_path, kind):
    path = write_folder(tmp_path / "toy", kind)
    file = path / "train" / f"data.{kind}"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match=rf"data set toy: .*train/data\.{kind}: damaged"):
        open_split(path, "train")


def test_constants_for_other_trajectories_are_refused(tmp_path):
    path = write_folder(tmp_path / "toy")
    torch.save(arrays(4) | {"constant_scalars": torch.zeros(3, 3)}, path / "train/data.pt")
    with pytest.raises(DataError, match=r"'constant_scalars' has shape \(3, 3\), but there are 4 trajectories"):
        open_split(path, "train")


@pytest.mark.parametrize("kind", ["pt", "h5"])
def test_one_file_alone_can_be_opened_and_sent_to_another_process(tmp_path, kind):
    path = write_folder(tmp_path / "toy", kind, stats=stats_of(["A", "B"]))
    trajectories = open_file(path / "test" / f"data.{kind}")
    assert trajectories.spec.channel_names == ("A", "B")
    again = pickle.loads(pickle.dumps(trajectories))
    assert np.array_equal(again.read(1, 0, 3), trajectories.read(1, 0, 3))


def test_double_precision_is_read_as_single(tmp_path):
    path = write_folder(tmp_path / "toy")
    torch.save({"data": torch.rand(2, 3, 8, 12, 2, dtype=torch.float64)}, path / "train/data.pt")
    assert open_split(path, "train").read(0, 0, 3).dtype == np.float32
