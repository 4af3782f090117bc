"""The sanity gate on the command line: by itself with `--check`, and before trainings that are long."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.directory import RunDirectory
from autocast.runs.launch import run
from autocast.runs.request import Request

pytestmark = pytest.mark.e2e

SIMULATION = ("simulator.grid_shape=[8,8]", "simulator.n_frames=6", "splits={train: 4, valid: 2, test: 1}")
TOY = "model.processor.backbone={_target_: tests.training.test_gate.Network, _partial_: true}"
DEAD = "model.processor.backbone={_target_: tests.training.test_gate.Network, _partial_: true, defect: thrown away}"
WORDS = ("model.processor=direct", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "datamodule.batch_size=4")


@pytest.fixture(scope="module")
def dataset(simulated: Callable[..., Path]) -> Path:
    return simulated(*SIMULATION)


@pytest.fixture
def request_of(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A request to train an emulator with other words in it."""
    monkeypatch.setenv("AUTOCAST_TARGETS", "tests")

    def make(*words: str, **options: Any) -> Request:
        return Request("epd", (*WORDS, *words), dataset=str(dataset), workdir=tmp_path / "run", **options)

    return make


def gate_events(directory: Path) -> list[dict[str, Any]]:
    return [event for event in RunDirectory(directory).events("epd", "train") if event["event"] == "gate"]


def test_check_tells_what_it_found_and_writes_nothing(
    request_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(request_of(TOY, check=True)) == 0
    told = capsys.readouterr().out
    assert "every block matters" in told
    assert "6 checks passed" in told
    assert not (tmp_path / "run").exists()


def test_check_of_a_defect_fails_and_tells_scripts_where(
    request_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(request_of(DEAD, check=True, json=True)) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    failed = {found["check"]: found for found in document["checks"] if found["result"] == "failed"}
    assert failed.keys() == {"gradients", "every block matters"}
    assert failed["every block matters"]["names"] == ["processor.backbone.layers.1.fourier"]
    assert failed["gradients"]["advice"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"dry_run": True}, {"detach": True}, {"resume_from": "auto"}])
def test_check_is_here_and_now(request_of: Any, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(request_of(TOY, check=True, **options)) == 2
    assert "--check" in capsys.readouterr().err


def test_a_failure_stops_a_training_before_its_first_step(
    request_of: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(request_of(DEAD, "gate=always")) == 1
    error = capsys.readouterr().err
    assert "layers.1.fourier (its output is thrown away)" in error or "layers.1.fourier (its weights" in error
    assert "gate=never" in error
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    (event,) = gate_events(tmp_path / "run")
    assert event["passed"] is False
    assert RunDirectory(tmp_path / "run").events("epd", "train")[-1]["error"] == "GateError"


@pytest.mark.parametrize(("words", "n_events"), [((TOY, "gate=always"), 1), ((DEAD,), 0), ((DEAD, "gate=never"), 0)])
def test_others_are_trained(request_of: Any, tmp_path: Path, words: tuple[str, ...], n_events: int) -> None:
    """One that passes, one that is too short to be asked, and one whose user knows better."""
    assert run(request_of(*words)) == 0
    assert [event["passed"] for event in gate_events(tmp_path / "run")] == [True] * n_events


def test_an_autoencoder_is_checked_as_well(dataset: Path, tmp_path: Path) -> None:
    words = ("model.encoder.widths=[8]", "model.encoder.blocks=[1]")
    assert run(Request("ae", words, dataset=str(dataset), workdir=tmp_path / "run", check=True)) == 0
