"""Keys of the trainer's leaf that are not Lightning's."""

import pytest

from autocast.runs.compose import compose
from autocast.runs.own_keys import read_own, without_own
from autocast.runs.request import Request


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.budget=12", "12: not a length of time. Accepted: 12h, 90m"),
        ("trainer.max_spike=1", "1: a number above 1 is wanted, or null"),
        ("trainer.skip_steps=7", "7: a list of optimiser steps is wanted"),
        ("trainer.skip_steps=[-1]", "a list of optimiser steps is wanted"),
        ("trainer.micro_batch=0", "0: a number of windows from 1 is wanted, or null"),
        ("trainer.compile=fast", "fast: one of default, reduce-overhead, max-autotune is wanted, or null"),
        ("trainer.tf32=high", "high: true or false is wanted"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(tmp_path, word, said):
    (problem,) = compose(Request("epd", (word, f"datamodule.data_path={tmp_path}"))).problems
    assert problem.subject == word
    assert said in problem.message


def test_a_misspelt_one_is_recognised(tmp_path):
    (problem,) = compose(Request("epd", ("trainer.bugdet=2h", f"datamodule.data_path={tmp_path}"))).problems
    assert "Did you mean trainer.budget?" in problem.message


def test_they_are_read_and_taken_out():
    trainer = {"max_epochs": 3, "budget": "2m", "skip_steps": [4]}
    assert read_own(trainer) == {"budget": 120.0, "skip_steps": [4]}
    assert without_own(trainer) == {"max_epochs": 3}
