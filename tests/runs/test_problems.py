"""Mistakes that are named before anything is started."""

import pytest

from autocast.errors import ConfigError
from autocast.runs.problems import Problem, as_problem


@pytest.mark.parametrize(
    ("message", "subject", "found"),
    [
        ("model.objective: has no end.", "model", Problem("model.objective", "has no end.")),
        ("eval.fps=0: at least 1.", "eval", Problem("eval.fps=0", "at least 1.")),
        ("datamodule.column=a: b: c", "datamodule.data_path", Problem("datamodule.column=a", "b: c")),
        (
            "data set waves: is empty.",
            "datamodule.data_path",
            Problem("datamodule.data_path", "data set waves: is empty."),
        ),
        ("model.ckpt is not there.", "model", Problem("model", "model.ckpt is not there.")),
    ],
)
def test_a_key_that_a_message_begins_with_is_its_subject(message, subject, found):
    assert as_problem(ConfigError(message), subject) == found
