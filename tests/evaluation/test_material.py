"""What an evaluation keeps for its report, and the same report drawn from it."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from autocast.errors import DataError
from autocast.evaluation.archive import read_archive, write_archive
from autocast.evaluation.material import (
    MATERIAL_FILE,
    draw_report,
    gather_material,
    read_material,
    write_material,
)
from tests.evaluation.films import draw_videos


@dataclass(frozen=True)
class Thing:
    values: tuple
    table: pd.DataFrame


def test_an_archive_gives_back_what_it_was_given(tmp_path):
    table = pd.DataFrame({"name": ["a", "", "µ"], "value": [0.1, np.nan, 1e-300], "n": [1, 2, 3]})
    thing = Thing((1, (2.5, None), [True, "x"]), table)
    value = {"thing": thing, "array": np.arange(6, dtype=np.float32).reshape(2, 3), "scalar": np.float64(0.1)}
    found = read_archive(write_archive(value, tmp_path / "a.npz"), {"Thing": Thing})
    assert found["thing"].values == thing.values
    assert found["scalar"] == 0.1
    pd.testing.assert_frame_equal(found["thing"].table, table)
    np.testing.assert_array_equal(found["array"], value["array"])
    assert found["array"].dtype == np.float32
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_an_archive_has_the_same_bytes_twice_and_no_unknown_kinds(tmp_path):
    a, b = (write_archive({"x": np.ones(3)}, tmp_path / name).read_bytes() for name in ("a.npz", "b.npz"))
    assert a == b
    with pytest.raises(TypeError, match="a set cannot be written"):
        write_archive({1}, tmp_path / "c.npz")


@pytest.mark.parametrize("how", [{}, {"grid_shape": (16,), "n_members": 1}, {"grid_shape": (6, 8, 4)}])
def test_a_report_that_is_drawn_again_is_the_same_to_the_last_byte(make_result, tmp_path, how):
    result = make_result(**how)
    material = gather_material(result, tmp_path, tmp_path / "videos")
    write_material(material, tmp_path)
    draw_videos(result, tmp_path / "videos")
    first = draw_report(material, tmp_path, tmp_path / "report.html", tmp_path / "figures")
    files = {path: path.read_bytes() for path in (first.page, *(tmp_path / "figures").iterdir())}
    for path in files:
        path.unlink()
    again = draw_report(read_material(tmp_path), tmp_path, tmp_path / "report.html", tmp_path / "figures")
    assert {path: path.read_bytes() for path in files} == files
    assert again.missing == []


def test_films_that_are_not_there_are_named(make_result, tmp_path):
    material = gather_material(make_result(), tmp_path, tmp_path / "videos")
    drawn = draw_report(material, tmp_path, tmp_path / "report.html", tmp_path / "figures")
    assert drawn.missing == ["videos/trajectory_0000.mp4", "videos/trajectory_0001.mp4"]
    assert "<video" not in drawn.page.read_text()


def test_only_the_pictures_that_are_drawn_are_kept(make_result, tmp_path):
    short, long = (make_result(grid_shape=(64, 64), channels=("u",), n_steps=n, n_examples=1) for n in (6, 48))
    sizes = []
    for name, result in (("a", short), ("b", long)):
        (tmp_path / name).mkdir()
        sizes.append(write_material(gather_material(result, tmp_path, None), tmp_path / name).stat().st_size)
    assert sizes[1] < 1.2 * sizes[0]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut"])
def test_nothing_to_draw_from_is_said_with_the_remedy(tmp_path, content):
    if content is not None:
        (tmp_path / MATERIAL_FILE).write_bytes(content)
    with pytest.raises(DataError, match=r"Evaluate again: autocast eval with eval\.name=NAME"):
        read_material(tmp_path)


def test_another_format_is_refused(tmp_path):
    write_archive({"format": 99, "material": None}, tmp_path / MATERIAL_FILE)
    with pytest.raises(DataError, match="another version"):
        read_material(tmp_path)


def test_drawing_needs_no_torch():
    code = "import sys, autocast.evaluation.material; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
