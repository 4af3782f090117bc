from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autocast.data.datamodule import FieldDataModule
from autocast.data.headers import describe
from autocast.data.inspect import inspect_dataset
from autocast.data.splits import open_split
from autocast.errors import ConfigError, DataError
from autocast.picture_files import holds_pictures

PICTURES = {"n_steps_output": 0}


def picture(i: int, shape: tuple[int, ...] = (6, 8, 3)) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    """`fill({folder: n})`: a directory with so many pictures in each folder, all of them different."""

    def make(folders: dict[str, int], shape: tuple[int, ...] = (6, 8, 3)) -> Path:
        for k, (folder, n) in enumerate(folders.items()):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                Image.fromarray(picture(100 * k + i, shape)).save(tmp_path / "set" / folder / f"{i:02}.png")
        return tmp_path / "set"

    return make


def names(path: Path, **reading) -> dict[str, list[str]]:
    header = describe(path, **reading)
    return {name: [str(file.relative_to(path)) for file in split.files] for name, split in header.splits.items()}


def test_folders_are_splits_and_classes_are_walked(fill):
    path = fill({"train/cat": 3, "train/dog": 2, "val": 2, "test": 1, ".cache": 4})
    (path / "train" / ".hidden.png").write_bytes(b"")
    (path / "train" / "notes.txt").write_text("no picture")
    found = names(path)
    assert {name: len(files) for name, files in found.items()} == {"train": 5, "valid": 2, "test": 1}
    assert found["train"][:2] == ["train/cat/00.png", "train/cat/01.png"]
    spec = describe(path).spec
    assert (spec.grid_shape, spec.channel_names, spec.boundary) == ((6, 8), ("red", "green", "blue"), ("open", "open"))
    np.testing.assert_allclose(open_split(path, "valid").read(1, 0, 1)[0], picture(201) / 255, rtol=1e-6)


@pytest.mark.parametrize("valid", ["validation", "dev"])
def test_folders_of_splits_have_several_names(fill, valid):
    found = names(fill({"training": 5, valid: 2, "testing": 3}))
    assert {name: len(files) for name, files in found.items()} == {"train": 5, "valid": 2, "test": 3}


def test_folders_beside_those_of_the_splits_are_told(fill):
    path = fill({"train": 5, "val": 2, "dev": 3, "extra/deep": 4, "words": 0, ".cache": 1})
    (note,) = describe(path).notes
    assert note.endswith("beside those of the splits: dev (3), extra (4)")
    fill({"train": 20}).joinpath("val").rename(path / "more")
    assert len(describe(path).notes) == 1, "dev is read now"
    (path / "dev").rename(path / "other")
    told = " ".join(describe(path).notes)
    assert "extra (4), more (2), other (3)" in told
    assert "no validation split" in told


def test_one_folder_is_divided_once_and_for_all(fill):
    path = fill({"a": 25, "b": 15})
    found = names(path)
    assert {name: len(files) for name, files in found.items()} == {"train": 32, "valid": 4, "test": 4}
    assert len({file for files in found.values() for file in files}) == 40
    assert found == names(path)
    assert found["valid"] != sorted(found["valid"] + found["test"] + found["train"])[:4]
    assert "32, 4 and 4 pictures" in " ".join(describe(path).notes)


def test_a_missing_validation_split_is_held_out_of_training(fill):
    found = names(fill({"train": 20, "test": 3}))
    assert {name: len(files) for name, files in found.items()} == {"train": 18, "valid": 2, "test": 3}
    assert not set(found["train"]) & set(found["valid"])


def test_too_few_pictures_to_draw_from(fill):
    with pytest.raises(DataError, match="too few pictures to draw a valid split"):
        describe(fill({"train": 1, "test": 3}))


def test_everything_that_is_wrong_is_told_at_once(fill):
    path = fill({"train": 5, "test": 1})
    Image.fromarray(picture(0, (6, 8))).save(path / "train" / "grey.png")
    Image.fromarray(picture(0, (9, 8, 3))).save(path / "train" / "tall.png")
    (path / "train" / "broken.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        describe(path)
    told = str(caught.value)
    assert "train/broken.png" in told
    assert "7 of 3 channels, 1 of 1 channel (train/grey.png)" in told
    assert "7 of 6 × 8, 1 of 9 × 8 (train/tall.png). Set datamodule.size=[HEIGHT,WIDTH]" in told


def test_pictures_are_resized_where_a_size_is_given(fill):
    path = fill({"train": 5, "valid": 1, "test": 1})
    Image.fromarray(picture(0, (9, 8, 3))).save(path / "train" / "tall.png")
    data = FieldDataModule(path, size=[6, 8], **PICTURES)
    assert data.notes == [f"data set {path}: 1 of 8 pictures are resized to 6 × 8"]
    assert data.split("train").read(5, 0, 1).shape == (1, 6, 8, 3)
    assert FieldDataModule(path, size=4, **PICTURES).spec.grid_shape == (4, 4)
    assert data.digest == FieldDataModule(path, size=4, **PICTURES).digest


def test_statistics_are_kept_for_each_size_and_these_pictures(fill):
    path = fill({"train": 5, "valid": 1, "test": 1})
    plain = FieldDataModule(path, **PICTURES).statistics
    assert plain.source == "computed, written to stats.yaml"
    small = FieldDataModule(path, size=3, **PICTURES).statistics
    assert small.source == "computed, written to stats_3x3.yaml"
    assert (small.std < plain.std).all()
    assert FieldDataModule(path, **PICTURES).statistics.source == "stats.yaml"
    Image.fromarray(picture(0)).save(path / "train" / "new.png")
    assert FieldDataModule(path, **PICTURES).statistics.source == "computed, written to stats.yaml"


@pytest.mark.parametrize("placement", ["ram", "disk"])
def test_batches_are_the_pictures(fill, placement):
    path = fill({"train": 5, "valid": 3, "test": 1}, shape=(6, 8))
    data = FieldDataModule(path, batch_size=2, placement=placement, **PICTURES)
    first, last = data.val_dataloader()
    assert (first.input_fields.shape, first.output_fields.shape) == ((2, 1, 6, 8, 1), (2, 0, 6, 8, 1))
    np.testing.assert_allclose(last.input_fields[0, 0, ..., 0], picture(102, (6, 8)) / 255, rtol=1e-6)


@pytest.mark.parametrize("size", [0, [6], [6, 8, 3], [-1, 4]])
def test_what_is_no_size(size):
    with pytest.raises(ConfigError, match=r"datamodule\.size=.*height and width"):
        FieldDataModule("anything", size=size)


def test_fields_are_not_resized(make_dataset):
    path = make_dataset()
    assert describe(path, size=(8, 12)).spec.grid_shape == (8, 12)
    with pytest.raises(DataError, match=r"datamodule\.size=\[4, 6\].*grid \[8, 12\]"):
        describe(path, size=(4, 6))
    with pytest.raises(DataError, match=r"datamodule\.column=SDCT.*lists of pictures"):
        describe(path, column="SDCT")


def test_a_column_is_of_lists_only(fill):
    with pytest.raises(DataError, match=r"datamodule\.column=SDCT.*lists of pictures"):
        describe(fill({"train": 4}), column="SDCT")


def test_a_report_of_another_size_and_column(fill, lists):
    report = inspect_dataset(describe(fill({"train": 5, "valid": 1, "test": 1}), size=(3, 4)))
    assert report.spec.grid_shape == (3, 4)
    assert inspect_dataset(describe(lists, column="LDCT")).splits["test"].channels[0].mean == 1000


def test_a_damaged_picture_is_named(fill):
    path = fill({"train": 4, "valid": 1}, shape=(60, 80))
    file = path / "train" / "02.png"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"train/02\.png: damaged"):
        _ = FieldDataModule(path, **PICTURES).statistics


def test_a_report_of_pictures(fill):
    path = fill({"": 12}, shape=(6, 8))
    Image.fromarray(picture(0, (6, 8))).save(path / "again.png")
    report = inspect_dataset(path)
    assert (report.layout, report.splits["train"].n_steps) == ("pictures", (1, 1))
    assert [channel.name for channel in report.splits["train"].channels] == ["intensity"]
    assert {finding.check for finding in report.findings} <= {"shared initial fields", "repeated initial fields"}
    assert report.findings
    assert report.notes


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Slices of cases in lists: of ten cases two slices each to train on, one of another case to test on."""
    path = tmp_path / "ct"
    path.mkdir()
    for name, cases in {"train": [i for i in range(10) for _ in range(2)], "test": [10]}.items():
        rows = ["Case\tSDCT\tLDCT"]
        for k, case in enumerate(cases):
            for kind, low in (("sd", 0), ("ld", 1000)):
                np.save(path / f"{name}{k}_{kind}.npy", np.full((4, 6), low + k, np.int16))
            rows.append(f"case{case}\t{name}{k}_sd.npy\t{name}{k}_ld.npy")
        (path / f"{name}.txt").write_text("\n".join(rows) + "\n\n")
    return path


def test_the_target_of_a_list_is_read_unless_another_column_is_asked_for(lists):
    assert open_split(lists, "test").read(0, 0, 1).max() == 0
    other = FieldDataModule(lists, column="LDCT", **PICTURES)
    assert other.split("test").read(0, 0, 1).min() == 1000
    assert other.digest == describe(lists).digest
    assert other.statistics.source == "computed, written to stats_LDCT.yaml"


def test_slices_of_a_case_stay_together(lists):
    splits = {name: {f.name for f in split.files} for name, split in describe(lists).splits.items()}
    assert {name: len(files) for name, files in splits.items()} == {"train": 18, "valid": 2, "test": 1}
    first, second = sorted(int(name[5:].split("_")[0]) for name in splits["valid"])
    assert (first // 2, second - first) == (second // 2, 1)


def test_a_list_with_a_validation_list_is_as_it_is(lists):
    (lists / "valid.txt").write_text((lists / "test.txt").read_text().replace("case10", "case11"))
    assert [s.n_trajectories for s in describe(lists).splits.values()] == [20, 1, 1]


def test_a_case_is_in_one_list(lists):
    rows = (lists / "train.txt").read_text().splitlines()
    (lists / "test.txt").write_text("\n".join([rows[0], *rows[3:17:2]]))
    with pytest.raises(DataError, match=r"several of train\.txt, test\.txt: case1, case2, case3 and 4 more\."):
        describe(lists)


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_a_list_of_a_spreadsheet_begins_with_a_mark(lists, line):
    plain = describe(lists).digest
    for name in ("train.txt", "test.txt"):
        (lists / name).write_text((lists / name).read_text(), encoding="utf-8-sig", newline=line)
    assert holds_pictures(lists)
    assert describe(lists).digest == plain


def test_mistakes_in_lists(lists):
    with pytest.raises(DataError, match=r"train\.txt: has no column 'HDCT'.*SDCT, LDCT"):
        describe(lists, column="HDCT")
    (lists / "train3_sd.npy").unlink()
    with pytest.raises(DataError, match=r"1 files of its lists are not there: train3_sd\.npy"):
        describe(lists)
    (lists / "test.txt").write_text("Case\tSDCT\tLDCT\ncase10\n")
    with pytest.raises(DataError, match=r"test\.txt: the row of 'case10'.*Case, SDCT, LDCT"):
        describe(lists)
