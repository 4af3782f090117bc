"""What a training will cost, on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.launch import run
from autocast.runs.request import Request

pytestmark = pytest.mark.e2e

SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=11", "splits={train: 4, valid: 2, test: 1}")
TINY = ("datamodule.batch_size=2", "model.processor=direct", "model.processor.backbone.width=4")


@pytest.fixture(scope="module")
def dataset(simulated: Callable[..., Path]) -> Path:
    return simulated(*SIMULATION)


@pytest.fixture
def estimate(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`estimate(overrides)`: the document; nothing was written."""
    monkeypatch.chdir(tmp_path)

    def document(*words: str) -> dict[str, Any]:
        assert run(Request("epd", (*TINY, *words), dataset=str(dataset), estimate=True, json=True)) == 0
        assert not list(tmp_path.iterdir())
        return json.loads(capsys.readouterr().out)

    return document


def test_epochs_are_those_of_the_config(estimate: Any) -> None:
    found = estimate("trainer.max_epochs=30", "checkpoint.every_n_epochs=10")
    assert (found["state"], found["epochs"], found["steps_per_epoch"]) == ("estimated", 30, 20)
    assert found["seconds_per_epoch"] > found["steps_per_epoch"] * found["seconds_per_step"] > 0
    assert found["hours"] == pytest.approx(30 * found["seconds_per_epoch"] / 3600)
    assert found["disk_bytes"] == 6 * found["checkpoint_bytes"]
    assert found["peak_memory"] > 1e8


def test_what_fits_in_memory_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where less is computed at once than was asked for, the next command asks for that."""
    from autocast.emulators import EncoderProcessorDecoder

    loss = EncoderProcessorDecoder.loss

    def small(model: Any, batch: Any, noise: Any) -> Any:
        if batch.size > 1:
            raise MemoryError
        return loss(model, batch, noise)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EncoderProcessorDecoder, "loss", small)
    monkeypatch.setattr(sys, "argv", ["/bin/autocast", "epd", "--estimate"])
    request = Request("epd", (*TINY, "trainer.max_epochs=2"), dataset=str(dataset), estimate=True)
    assert run(request) == 0
    said = capsys.readouterr().out
    assert "in pieces of 1" in said
    assert "autocast epd trainer.micro_batch=1" in said


def test_a_budget_holds_so_many_epochs(estimate: Any) -> None:
    found = estimate("trainer.max_epochs=-1", "trainer.budget=2h")
    assert found["hours"] == pytest.approx(2)
    assert found["epochs"] == pytest.approx(7200 / found["seconds_per_epoch"])


def test_validations_may_be_rare_and_several_batches_one_step(estimate: Any) -> None:
    found = estimate("trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4", "trainer.accumulate_grad_batches=3")
    assert found["steps_per_epoch"] == 7
    assert found["hours"] == pytest.approx(4 * found["seconds_per_epoch"] / 3600)


def test_the_panel_ends_with_the_command_that_trains(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/bin/autocast", "epd", "--dataset", "rd", "trainer.max_epochs=-1", "--estimate"])
    request = Request("epd", (*TINY, "trainer.max_epochs=-1"), dataset=str(dataset), estimate=True)
    assert run(request) == 0
    said = capsys.readouterr().out
    assert "samples/s" in said
    assert "24.0 h" in said
    assert "autocast epd --dataset rd trainer.max_epochs=-1 trainer.budget=24h" in said


@pytest.mark.parametrize("flags", [{"dry_run": True}, {"check": True}, {"detach": True}])
def test_an_estimate_is_made_here_and_now(
    dataset: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, bool]
) -> None:
    assert run(Request("epd", TINY, dataset=str(dataset), estimate=True, **flags)) == 2
    assert "--estimate looks at a model before its first step" in capsys.readouterr().err
