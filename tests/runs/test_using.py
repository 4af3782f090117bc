"""Commands that make no run."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.runs import using
from autocast.runs.directory import RunDirectory, UpstreamError
from autocast.runs.identity import write_json
from autocast.runs.job import Outcome

WANTED = {"n_steps": 3, "n_members": 2, "split": "test", "seed": 0, "batch_size": None}


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run that was trained with batches of 5, and a data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCAST_DATASETS", raising=False)
    directory = RunDirectory(Path("outputs/rd/00"))
    write_json(directory.run_file("epd", "train"), {"uid": "12345678", "user_targets": ""})
    directory.config_file("epd").write_text(yaml.safe_dump({"datamodule": {"batch_size": 5}}))
    directory.checkpoint_file("epd").touch()
    Path("datasets/waves").mkdir(parents=True)
    return directory


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[using.ForecastRequest]:
    """What reaches the workflow."""
    seen: list[using.ForecastRequest] = []
    module: Any = types.ModuleType("autocast.workflows")
    module.forecast = lambda request, console: seen.append(request) or Outcome()
    monkeypatch.setitem(sys.modules, "autocast.workflows", module)
    return seen


def forecast(**wanted: Any) -> int:
    named = {**WANTED, "source": "waves", "out": Path("f.hdf5"), **wanted}
    return using.forecast("rd/00", named, output_base=None, overwrite=False, json=True, dry_run=False)


def test_a_forecast_takes_the_batch_size_of_the_runs_training(emulator: RunDirectory, requests: list):
    assert forecast() == forecast(batch_size=2) == 0
    assert [request.batch_size for request in requests] == [5, 2]
    assert {request.source for request in requests} == {"datasets/waves"}


def test_a_dry_forecast_says_how_many_at_once(emulator: RunDirectory, capsys: pytest.CaptureFixture[str]):
    named = {**WANTED, "source": "waves", "out": Path("f.hdf5")}
    assert using.forecast("rd/00", named, output_base=None, overwrite=False, json=True, dry_run=True) == 0
    assert json.loads(capsys.readouterr().out)["batch_size"] == 5


def test_a_run_without_an_emulator_cannot_forecast(emulator: RunDirectory):
    emulator.checkpoint_file("epd").unlink()
    with pytest.raises(UpstreamError, match="no emulator that was trained; it has epd"):
        forecast()


BENCHMARK = {
    "members": "8,1,8",
    "batch_sizes": "4",
    "steps": None,
    "seconds": 60.0,
    "device": "auto",
    "compile": "auto",
    "simulator": True,
    "out": None,
}


def benchmark(run: str = "rd/00", **wanted: Any) -> int:
    return using.benchmark(run, {**BENCHMARK, **wanted}, output_base=None, json=True, dry_run=False)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[using.BenchmarkRequest]:
    """What reaches the workflow."""
    seen: list[using.BenchmarkRequest] = []
    module: Any = types.ModuleType("autocast.workflows")
    module.benchmark = lambda request, console: seen.append(request) or Outcome()
    monkeypatch.setitem(sys.modules, "autocast.workflows", module)
    return seen


def test_a_benchmark_writes_into_the_run_unless_told_otherwise(emulator: RunDirectory, measured: list):
    assert benchmark() == benchmark(out=Path("b"), compile="false") == 0
    first, second = measured
    assert (first.kind, first.members, first.batch_sizes, first.compile) == ("epd", (1, 8), (4,), "auto")
    assert (first.out, second.out, second.compile) == (Path("outputs/rd/00/eval"), Path("b"), False)


def test_a_benchmark_is_of_the_checkpoint_that_is_named(emulator: RunDirectory, measured: list):
    emulator.config_file("ae").write_text("model: {}")
    emulator.checkpoint_file("ae").touch()
    assert benchmark(str(emulator.checkpoint_file("ae"))) == 0
    assert (measured[0].kind, measured[0].checkpoint) == ("ae", emulator.checkpoint_file("ae"))


def test_all_that_is_wrong_with_a_benchmark_is_told_at_once(
    emulator: RunDirectory, measured: list, capsys: pytest.CaptureFixture[str]
):
    Path("file").touch()
    wrong = {"members": "1,x", "batch_sizes": "0", "steps": 0, "seconds": float("nan"), "device": "gpu"}
    assert benchmark("rd/01", **wrong, compile="yes", out=Path("file")) == 2
    told = capsys.readouterr().err
    assert "8 problems" in told
    for words in ("--members 1,x", "--batch-sizes 0", "--steps 0", "--seconds nan", "auto, cpu, cuda", "true, false"):
        assert words in told
    assert "--out file" in told
    assert "no such run: rd/01" in told
    assert measured == []


def test_a_run_without_a_checkpoint_has_no_cost(emulator: RunDirectory):
    emulator.checkpoint_file("epd").unlink()
    with pytest.raises(UpstreamError, match="nothing in it has a checkpoint yet; it has epd"):
        benchmark()
