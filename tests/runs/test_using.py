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
