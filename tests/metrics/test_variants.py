"""Scores as others publish them, on figures small enough to compute by hand."""

import math

import numpy as np
import pytest
import torch

from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import TermStream
from autocast.metrics.terms import Window

GRID = Grid((4,), (1.0,))
TRUTH = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.001, 0.001]], dtype=torch.float64)
"""Two trajectories; means 3 and 5e-4, unbiased variances 14 / 3 and 1e-6 / 3, mean squares 12.5 and 5e-7."""
MEMBERS = torch.tensor(
    [[[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 3.0, 6.0]], [[0.001, 0.0, 0.001, 0.001], [0.0, 0.0, 0.001, 0.001]]],
    dtype=torch.float64,
)
"""Mean squared errors of the members 1, 1 and 2.5e-7, 0; of their means .5 and 6.25e-8.

The members' unbiased variances at the points are 2, 0, 0, 2 and 5e-7, 0, 0, 0: on average 1 and 1.25e-7.
"""


@pytest.fixture
def stream():
    stream = TermStream(resolve_metrics(METRICS), n_members=2, lengths=[1, 1], n_channels=1, grid=GRID)
    stream.add([0, 1], 0, Window(TRUTH[:, None, :, None], MEMBERS[:, :, None, :, None], GRID))
    return stream


@pytest.mark.parametrize(
    ("name", "kind", "first", "second"),
    [
        ("vrmse@well", "member", math.sqrt(1 / (14 / 3 + 1e-7)), math.sqrt(2.5e-7 / (1e-6 / 3 + 1e-7)) / 2),
        ("vrmse@well", "mean", math.sqrt(0.5 / (14 / 3 + 1e-7)), math.sqrt(6.25e-8 / (1e-6 / 3 + 1e-7))),
        ("vrmse@lola", "mean", math.sqrt(0.5 / (14 / 3 + 1e-6)), math.sqrt(6.25e-8 / (1e-6 / 3 + 1e-6))),
        ("nrmse@pdebench", "member", math.sqrt(1 / 12.5), math.sqrt(2.5e-7 / 5e-7) / 2),
        ("nrmse@pdebench", "mean", math.sqrt(0.5 / 12.5), math.sqrt(6.25e-8 / 5e-7)),
        ("spread@lola", "ensemble", math.sqrt(1.5 * 1), math.sqrt(1.5 * 1.25e-7)),
    ],
)
def test_variants_are_what_is_published(stream, name, kind, first, second):
    found = stream.by_trajectory(METRICS[name], kind, 1, 1)[:, 0]
    np.testing.assert_allclose(found, [first, second], rtol=1e-6)
    assert stream.in_window(METRICS[name], kind, 1, 1)[0] == pytest.approx((first + second) / 2, rel=1e-6)


def test_the_published_spread_contains_the_factor_of_the_ratio(stream):
    """(M + 1) / (M - 1) of the mean of squared deviations that are divided by M, as the code has it."""
    deviations = MEMBERS - MEMBERS.mean(1, keepdim=True)
    expected = torch.sqrt(3 / 1 * deviations.square().mean((1, 2)))
    np.testing.assert_allclose(stream.by_trajectory(METRICS["spread@lola"], "ensemble", 1, 1)[:, 0], expected)
    pooled = stream.in_window(METRICS["spread"], "ensemble", 1, 1)[0]
    assert pooled == pytest.approx(math.sqrt((1 + 1.25e-7) / 2))


def test_coverage_by_interpolated_quantiles():
    """Members 0 and 1: the interval of level p is (1 - p) / 2 to (1 + p) / 2."""
    truth = torch.tensor([0.5, 0.71, 0.99, 2.0]).reshape(1, 1, 4, 1)
    forecast = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 1)
    stream = TermStream(resolve_metrics(["coverage@interpolated"]), n_members=2, lengths=[1], n_channels=1, grid=GRID)
    stream.add([0], 0, Window(truth, forecast, GRID))
    # .5 is inside at every level, .71 from p = .42 on (9 levels below), .99 from .98 on (none), 2 never
    shares = [0.25 if p < 0.42 else 0.5 for p in np.arange(1, 20) / 20]
    expected = np.mean([abs(share - p) for share, p in zip(shares, np.arange(1, 20) / 20, strict=True)])
    found = stream.in_window(METRICS["coverage@interpolated"], "ensemble", 1, 1)[0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_variants_stand_beside_ours(stream):
    names = {metric.name for metric in stream.metrics}
    for name in names:
        ours, at, _ = name.partition("@")
        if at:
            assert {"coverage": "coverage_error"}.get(ours, ours) in names
