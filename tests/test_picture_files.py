"""Which directories hold pictures."""

from pathlib import Path

import pytest

from autocast.picture_files import holds_pictures, picture_files


def fill(directory: Path, *files: str) -> Path:
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("Case\tSDCT\n" if name == "train.txt" else "some\twords\n")
    return directory


@pytest.mark.parametrize("files", [("train/cat/a.JPG",), ("a.npy",), ("train.txt",), ("deep/er/a.tiff", "b.csv")])
def test_a_picture_or_a_list_is_enough(files, tmp_path):
    assert holds_pictures(fill(tmp_path, *files))


@pytest.mark.parametrize(
    "files",
    [
        (),
        ("notes.txt", "valid.txt", "a.csv"),
        (".hidden/a.png", "._a.png"),
        ("data/train/a.hdf5", "drawn.png"),
        ("valid/data.pt", "drawn.png"),
    ],
)
def test_anything_else_is_no_pictures(files, tmp_path):
    assert not holds_pictures(fill(tmp_path, *files))


def test_pictures_come_folder_by_folder_in_order(tmp_path):
    fill(tmp_path, "b/2.png", "b/1.png", "a/3.png", "0.png", ".trash/9.png", "a/readme.md")
    found = [file.relative_to(tmp_path).as_posix() for file in picture_files(tmp_path)]
    assert found == ["0.png", "a/3.png", "b/1.png", "b/2.png"]
