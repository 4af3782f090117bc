"""Names of files, states of stages, and how a run is found by what a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autocast.runs.directory import (
    ABSENT,
    DONE,
    UNFINISHED,
    NoSuchRunError,
    RunDirectory,
    cache_stage,
    find_run,
    is_cache,
    is_run,
    run_of_file,
)


def make_run(path: Path, kind: str = "ae", *, done: bool = False, uid: str = "abcd1234") -> RunDirectory:
    run = RunDirectory(path)
    run.record_dir(kind, "train").mkdir(parents=True)
    run.config_file(kind).write_text("seed: 1\n")
    run.run_file(kind, "train").write_text(json.dumps({"uid": uid, "signature": "s"}))
    if done:
        run.done_file(kind, "train").write_text(json.dumps({"products": {}}))
    return run


def test_a_pair_of_files_per_kind_lies_on_top():
    run = RunDirectory(Path("outputs/rd/00"))
    assert run.config_file("ae") == Path("outputs/rd/00/autoencoder.yaml")
    assert run.checkpoint_file("epd") == Path("outputs/rd/00/encoder_processor_decoder.ckpt")
    assert run.metrics_file("epd") == Path("outputs/rd/00/epd/metrics.jsonl")
    assert run.config_file("epd", "eval-2") == Path("outputs/rd/00/eval-2/config.yaml")
    assert run.done_file("epd", "eval-2") == Path("outputs/rd/00/.autocast/epd/eval-2/DONE.json")
    assert run.label == "rd/00"


def test_only_the_marker_means_done(tmp_path: Path):
    run = RunDirectory(tmp_path / "rd" / "00")
    assert run.state("ae") == ABSENT
    make_run(run.path)
    assert run.state("ae") == UNFINISHED
    run.checkpoint_file("ae").touch()
    assert run.state("ae") == UNFINISHED
    run.done_file("ae", "train").write_text("{}")
    assert run.state("ae") == DONE
    assert run.state("epd") == ABSENT
    assert run.state("ae", "eval") == ABSENT


def test_the_emulator_is_evaluated_before_the_autoencoder(tmp_path: Path):
    run = make_run(tmp_path / "rd" / "00")
    assert run.kind_to_evaluate() is None
    run.checkpoint_file("ae").touch()
    assert run.kind_to_evaluate() == "ae"
    run.checkpoint_file("epd").touch()
    assert run.kind_to_evaluate() == "epd"


def test_last_checkpoint_falls_back_to_the_previous(tmp_path: Path):
    run = make_run(tmp_path / "rd" / "00")
    assert run.last_checkpoint("ae") is None
    run.checkpoints_dir("ae").mkdir(parents=True)
    (run.checkpoints_dir("ae") / "previous.ckpt").touch()
    assert run.last_checkpoint("ae") == run.checkpoints_dir("ae") / "previous.ckpt"
    (run.checkpoints_dir("ae") / "last.ckpt").touch()
    assert run.last_checkpoint("ae") == run.checkpoints_dir("ae") / "last.ckpt"


def test_a_checkpoint_may_be_the_directory_of_a_sharded_training(tmp_path: Path):
    run = make_run(tmp_path / "rd/00")
    last = run.checkpoints_dir("ae") / "last.ckpt"
    last.mkdir(parents=True)
    assert run.last_checkpoint("ae") is None  # nothing is in it
    (last / ".metadata").touch()
    assert run.last_checkpoint("ae") == last
    assert find_run(last, tmp_path).path == run.path


def test_a_run_beside_takes_the_first_free_number(tmp_path: Path):
    run = make_run(tmp_path / "rd" / "00")
    make_run(tmp_path / "rd" / "00-2")
    assert run.sibling("ae").path.name == "00-3"
    assert run.sibling("epd").path.name == "00-2"


def test_a_run_is_found_by_path_name_checkpoint_and_uid(tmp_path: Path):
    run = make_run(tmp_path / "rd" / "00", uid="cafe0001")
    checkpoint = run.checkpoints_dir("ae") / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    for name in (run.path, "rd/00", "cafe0001", checkpoint):
        assert find_run(name, tmp_path).path == run.path
    assert run_of_file(checkpoint) == run


def test_no_such_run_suggests_the_nearest(tmp_path: Path):
    make_run(tmp_path / "rd" / "00")
    make_run(tmp_path / "xy" / "other", uid="0")
    with pytest.raises(NoSuchRunError, match=r"no such run: rd/0\. Did you mean rd/00"):
        find_run("rd/0", tmp_path)


def test_a_name_that_means_two_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "rd" / "00")
    make_run(tmp_path / "outputs" / "rd" / "00")
    with pytest.raises(NoSuchRunError, match="2 runs"):
        find_run("rd/00", Path("outputs"))


def test_a_cache_is_a_stage_with_a_place_of_its_own(tmp_path: Path):
    run = RunDirectory(tmp_path / "rd" / "00")
    directory = run.latents_dir("cafe")
    stage = cache_stage(directory)
    assert is_cache(stage)
    assert not any(map(is_cache, ("train", "eval", "eval-latents")))
    assert run.config_file("ae", stage) == directory / "config.yaml"
    assert run.files_of("ae", stage) == [directory, run.record_dir("ae", stage)]
    run.record_dir("ae", stage).mkdir(parents=True)
    assert not is_run(run.path)
    run.run_file("ae", stage).write_text('{"uid": "cafe0002"}')
    assert is_run(run.path), "also where nothing is trained"
    assert run.kinds() == []
    assert find_run("cafe0002", tmp_path) == run
    make_run(run.path)
    assert directory not in run.files_of("ae"), "it goes with the folder of its kind"


def test_what_overwrite_replaces_is_the_kinds_own(tmp_path: Path):
    run = make_run(tmp_path / "rd" / "00")
    make_run(run.path, "epd")
    run.record_dir("epd", "eval").mkdir(parents=True)
    run.run_file("epd", "eval").write_text("{}")
    replaced = {path.relative_to(run.path).as_posix() for path in run.files_of("epd")}
    assert replaced == {
        "encoder_processor_decoder.yaml",
        "encoder_processor_decoder.ckpt",
        "epd",
        "eval",
        ".autocast/epd",
    }
    assert {path.name for path in run.files_of("epd", "eval")} == {"eval"}
