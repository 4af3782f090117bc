"""Whose latents `autocast sample` means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from autocast.errors import ConfigError
from autocast.runs.directory import NoSuchRunError, RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.sampling import SampleRequest, read_sample


def make_run(base: Path, name: str, *checkpoints: str, age: float = 0.0) -> RunDirectory:
    run = RunDirectory(base / "rd" / name)
    run.checkpoints_dir("ae").mkdir(parents=True)
    run.config_file("ae").write_text("seed: 1\n")
    write_json(run.run_file("ae", "train"), {"uid": name})
    places = {"best": run.checkpoint_file("ae"), "last": run.checkpoints_dir("ae") / "last.ckpt"}
    for label in checkpoints:
        places[label].write_bytes(b"PK\x03\x04")
        os.utime(places[label], (1e9 - age, 1e9 - age))
    return run


def read(base: Path, name: str | None = "rd/00", **wishes: Any) -> SampleRequest:
    usual = {"samples": 25, "checkpoint": "best", "prior": "auto", "seed": 42, "out": None, "overwrite": False}
    return read_sample(name, base, **{**usual, **wishes})


def test_a_run_means_its_best_checkpoint_and_its_own_directory(tmp_path):
    run = make_run(tmp_path, "00", "best", "last")
    found = read(tmp_path)
    assert found.checkpoints == {"best": run.checkpoint_file("ae")}
    assert (found.out, found.n_rows, found.config) == (run.path, 5, {"seed": 1})
    assert list(read(tmp_path, checkpoint="both").checkpoints) == ["best", "last"]


def test_without_a_name_it_is_the_newest(tmp_path):
    make_run(tmp_path, "00", "best", age=10)
    make_run(tmp_path, "01", "best")
    make_run(tmp_path, "02", age=-10)
    assert read(tmp_path, None).run.path.name == "01"


def test_all_that_cannot_be_is_said_at_once_and_first(tmp_path):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, "no/run", samples=24, checkpoint="worst", prior="uniform")
    told = str(error.value).splitlines()
    assert told[0] == "--samples 24: a square number is wanted, such as 16 or 25"
    assert told[1].startswith("--checkpoint worst: there are best, last, both")
    assert told[2].startswith("--prior uniform")


@pytest.mark.parametrize(("samples", "words"), [(0, "1 or 4"), (-4, "1 or 4"), (2, "1 or 4")])
def test_small_numbers_are_no_squares_either(samples, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, samples=samples)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    make_run(tmp_path, "00", "best")
    with pytest.raises(ConfigError, match="there is no last checkpoint"):
        read(tmp_path, checkpoint="both")
    with pytest.raises(NoSuchRunError):
        read(tmp_path, "rd/01")
    with pytest.raises(NoSuchRunError, match="no run has an autoencoder"):
        read(tmp_path / "rd", None)


def test_pictures_that_are_there_are_kept_unless_it_is_said(tmp_path):
    run = make_run(tmp_path, "00", "best")
    (run.path / "vae_recon_grid_best.png").touch()
    with pytest.raises(ConfigError, match=r"vae_recon_grid_best.png.*--overwrite replaces them, --out DIR keeps them"):
        read(tmp_path)
    assert read(tmp_path, overwrite=True).out == run.path
    assert read(tmp_path, out=tmp_path / "else").out == tmp_path / "else"
