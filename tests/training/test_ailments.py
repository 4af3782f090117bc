"""What is said of a model that does not learn as it should, while it is trained."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from autocast.diagnosis import Run
from autocast.training.fit import fit
from autocast.training.progress import Display

CONFIG = {
    "datamodule": {"data_path": "toys"},
    "model": {"objective": {"terms": {"kl": {"_target_": "autocast.losses.terms.KL"}}, "weights": {"kl": 5.0}}},
}


@pytest.fixture
def train_ailing(toy, tmp_path):
    """Trains a toy that says in validation that it has collapsed until a number of steps; returns what is printed."""

    class Ailing(toy.ToyModel):
        heals_after = 10**9

        def validation_scores(self, batch, noise):
            n_active = 0.0 if self.n_calls < self.heals_after else 7.0
            return {"active_units": torch.tensor(n_active), "vrmse": torch.tensor(1.0)}

    def run(max_epochs: int, heals_after: int = 10**9, resume_from: Path | None = None):
        model, stream, events = Ailing(), io.StringIO(), []
        model.heals_after = heals_after
        told = Run(CONFIG, "outputs/toy", lambda: ["autocast", "ae"])
        destination = dataclasses.replace(toy.make_destination(tmp_path), diagnosed=told)
        fit(
            model,
            toy.ToyData(),
            toy.make_recipe(max_epochs, callbacks={}),
            destination,
            resume_from=resume_from,
            display=Display(Console(file=stream, width=200)),
            on_event=lambda name, values: events.append((name, values)),
        )
        notes = [values["text"] for name, values in events if name == "note" and "schedule" not in values["text"]]
        said = [line for line in stream.getvalue().splitlines() if line.startswith("note: ") and "schedule" not in line]
        assert said == [f"note: {note}" for note in notes]
        return notes

    return run


def test_an_ailment_is_said_once_with_what_to_type(train_ailing):
    assert train_ailing(4) == []
    (note,) = train_ailing(7)
    assert note.startswith("the posterior has collapsed: 0 channels of the latents are active")
    assert note.endswith("Type: autocast ae --dataset toys --preset resume_fix --init-from outputs/toy")


def test_a_run_that_goes_on_does_not_say_it_again(train_ailing, tmp_path):
    assert len(train_ailing(6)) == 1
    assert train_ailing(8, resume_from=tmp_path / "epd/checkpoints/last.ckpt") == []


def test_what_has_healed_is_said_too(train_ailing):
    told = train_ailing(9, heals_after=4 * 7)
    assert told[1:] == ["posterior collapse: no longer, as of epoch 7"]
