"""Lengths of time as SLURM and Lightning write them."""

import math

import pytest

from autocast.runs.walltime import budget_seconds, longest_training, slurm_seconds, trainer_seconds


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


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        (None, None),
        ("12h", 43200),
        ("90m", 5400),
        ("1.5h", 5400),
        ("1d12h", 129600),
        ("2h30m5s", 9005),
        ("12:00:00", 43200),
        ("1-00:00:01", 86401),
    ],
)
def test_the_formats_of_a_budget(budget, seconds):
    assert budget_seconds(budget) == seconds


@pytest.mark.parametrize("budget", [90, "90", "", "12 hours", "0h", "h", "-1h", "1h2d", "1:30"])
def test_a_budget_without_a_unit_is_refused_with_the_formats(budget):
    with pytest.raises(ValueError, match=r"not a length of time. Accepted: 12h, 90m"):
        budget_seconds(budget)


def test_a_budget_ends_a_training_as_well():
    config = {"trainer": {"max_time": "00:02:00:00", "budget": "90m"}}
    assert longest_training(config) == 5400


@pytest.mark.parametrize(
    ("max_time", "cluster", "seconds"),
    [
        (None, None, math.inf),
        ("00:02:00:00", None, 7200),
        (None, {"time": "1:00:00"}, math.inf),
        (None, {"time": "1:00:00", "requeue": False}, 3600),
        ("00:02:00:00", {"time": "1:00:00", "max_attempts": 1}, 3600),
    ],
)
def test_only_a_job_that_is_not_started_again_ends_with_its_time(max_time, cluster, seconds, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    config = {"trainer": {"max_time": max_time}, "cluster": cluster}
    assert longest_training(config) == seconds
    monkeypatch.delenv("SLURM_JOB_ID")
    assert longest_training(config) == (math.inf if max_time is None else 7200)
