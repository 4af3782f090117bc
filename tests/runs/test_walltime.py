"""Lengths of time as SLURM and Lightning write them."""

import math

import pytest

from autocast.runs.walltime import slurm_seconds, trainer_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 5400),
        ("90", 5400),
        ("1:30", 90),
        ("12:00:00", 43200),
        ("00:05:00", 300),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("2-00:00:01", 172801),
        ("UNLIMITED", math.inf),
    ],
)
def test_the_formats_of_slurm(text, seconds):
    assert slurm_seconds(text) == seconds


@pytest.mark.parametrize("text", ["12h", "", "1-", "-5", "1:2:3:4", "1.5", "12:00:00 ?"])
def test_what_is_no_time_is_refused_with_the_formats(text):
    with pytest.raises(ValueError, match="12:00:00, 1-12:00:00"):
        slurm_seconds(text)


@pytest.mark.parametrize(
    ("max_time", "seconds"),
    [
        ("00:12:00:00", 43200),
        ("1:00:00:01", 86401),
        ({"hours": 2, "minutes": 1}, 7260),
        ("12h", None),
        ({"x": 1}, None),
    ],
)
def test_the_formats_of_the_trainer(max_time, seconds):
    assert trainer_seconds(max_time) == seconds
