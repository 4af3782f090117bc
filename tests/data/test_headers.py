from __future__ import annotations

import json
import subprocess
import sys

import pytest

from autocast.data.headers import PENDING_DIR, describe
from autocast.data.splits import open_split
from autocast.errors import DataError


def test_a_header_counts_trajectories_steps_and_files(make_dataset):
    path = make_dataset()
    header = describe(path)
    assert header.layout == "well"
    assert {name: (s.n_trajectories, s.n_steps, len(s.files)) for name, s in header.splits.items()} == {
        "train": (5, 7, 2),
        "valid": (2, 9, 1),
        "test": (2, 9, 1),
    }
    assert header.splits["valid"].n_bytes == (path / "data/valid/part0.hdf5").stat().st_size
    assert json.loads(json.dumps(header.to_dict()))["spec"]["grid_shape"] == [8, 12]


def test_the_digest_is_that_of_the_data_and_not_of_the_place(make_dataset, tmp_path):
    path = make_dataset()
    digest = describe(path).digest
    (path / "stats.yaml").write_text("mean: {}\n")
    assert describe(path).digest == digest
    path.rename(tmp_path / "moved")
    assert describe(tmp_path / "moved").digest == digest


def test_the_digest_changes_with_files_and_shapes(make_dataset):
    digests = {
        describe(make_dataset(name, train=files)).digest
        for name, files in (("a", [(3, 9)]), ("b", [(3, 8)]), ("c", [(2, 9)]), ("d", [(3, 9), (1, 9)]))
    }
    assert len(digests) == 4


def test_headers_import_no_torch():
    code = "import sys, autocast.data.headers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_directory_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"nope: there is no such directory.*data/\{train,valid,test\}"):
        describe(tmp_path / "nope")


def test_a_directory_of_something_else_says_what_was_found(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"found notes\.txt; expected data/"):
        describe(tmp_path)


def test_an_unfinished_simulation_is_not_a_data_set(make_dataset):
    path = make_dataset()
    (path / PENDING_DIR).mkdir()
    with pytest.raises(DataError, match="its simulation is not complete"):
        describe(path)


def test_a_missing_split_lists_those_that_are_there(make_dataset):
    with pytest.raises(DataError, match=r"has no split 'test'\. There are: train, valid"):
        open_split(make_dataset(train=[(1, 3)], valid=[(1, 3)]), "test")


def test_a_manifest_counts_only_for_the_files_that_it_names(make_dataset):
    path = make_dataset()
    sizes = {str(f.relative_to(path)): {"n_bytes": f.stat().st_size} for f in path.glob("data/*/*")}
    (path / "manifest.json").write_text(json.dumps({"files": sizes, "digest": "abc"}))
    assert describe(path).digest == "abc"
    (path / "data/train/part1.hdf5").unlink()
    header = describe(path)
    assert header.manifest is None
    assert header.digest != "abc"


def test_a_damaged_manifest_is_named(make_dataset):
    path = make_dataset()
    (path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json is damaged.*Delete it"):
        describe(path)
