"""Scores of calibration on ensembles whose calibration is known: truth and members are draws of known distributions."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from autocast.metrics.catalogue import INTERPOLATED_LEVELS, MAX_LEVELS
from autocast.metrics.probabilistic import interval_levels, rank_cuts
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import TermStream
from autocast.metrics.terms import Window

GRID = Grid((200, 300), (1.0, 1.0))
SIZES = (4, 8, 16, 64)


def scored(truth, forecast, names=("ssr", "coverage", "rank_histogram")):
    """The stream of a single frame, `(1, 1, *S, C)` and `(1, M, 1, *S, C)`."""
    grid = Grid(tuple(truth.shape[2:-1]), (1.0,) * (truth.ndim - 3))
    stream = TermStream(
        resolve_metrics(names), n_members=forecast.shape[1], lengths=[1], n_channels=truth.shape[-1], grid=grid
    )
    stream.add([0], 0, Window(truth, forecast, grid))
    return stream


def normal(n_members, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(1, 1, *GRID.shape, 1, generator=generator)
    return truth, scale * torch.randn(1, n_members, 1, *GRID.shape, 1, generator=generator)


def value(stream, name):
    return stream.in_window(METRICS[name], "ensemble", 1, 1)[0]


@pytest.mark.parametrize("n_members", SIZES)
def test_a_perfect_ensemble_of_any_size_is_found_calibrated(n_members):
    stream = scored(*normal(n_members))
    levels = interval_levels(n_members)
    assert len(levels) == min(n_members // 2, MAX_LEVELS)
    np.testing.assert_allclose(stream.coverage(1, 1)[0], levels, atol=0.01)
    assert value(stream, "ssr") == pytest.approx(1, abs=0.01)
    shares, expected = stream.ranks(1, 1)
    n_points = np.prod(GRID.shape)
    assert chisquare(n_points * shares[0], n_points * expected).pvalue > 0.01


@pytest.mark.parametrize("n_members", SIZES)
@pytest.mark.parametrize(("scale", "sign"), [(0.7, -1), (1.3, 1)], ids=["narrow", "wide"])
def test_narrow_and_wide_ensembles_err_in_their_directions(n_members, scale, sign):
    stream = scored(*normal(n_members, scale))
    excess = sign * (stream.coverage(1, 1)[0] - np.array(interval_levels(n_members)))
    assert (excess[:-1] > 0.02).all()  # the last, narrowest intervals of many members say little
    assert sign * (value(stream, "ssr") - 1) > 0.1
    shares, expected = stream.ranks(1, 1)
    assert sign * (expected[0] - shares[0, 0]) > 0.004
    assert sign * (expected[-1] - shares[0, -1]) > 0.004
    n_points = np.prod(GRID.shape)
    assert chisquare(n_points * shares[0], n_points * expected).pvalue < 1e-6
    assert value(stream, "rank_error") > 2 * value(scored(*normal(n_members)), "rank_error")


def test_a_bias_tilts_the_histogram():
    truth, forecast = normal(8)
    shares, _ = scored(truth, forecast + 0.5).ranks(1, 1)
    assert (np.diff(shares[0]) < 0).all()


def test_the_histogram_is_that_of_the_ranks():
    truth = torch.tensor([0.5, 1.5, 2.5, 2.5, 9.0]).reshape(1, 1, 5, 1)
    forecast = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 1, 5, 1)
    shares, expected = scored(truth, forecast, ["rank_histogram"]).ranks(1, 1)
    np.testing.assert_allclose(shares[0], [0.2, 0.2, 0.4, 0.2], atol=1e-6)
    np.testing.assert_allclose(expected, 0.25)


def test_ties_count_by_their_expectation():
    """As if they were broken at random: members that all equal the truth give a flat histogram."""
    truth = torch.zeros(1, 1, 7, 1)
    shares, expected = scored(truth, torch.zeros(1, 5, 1, 7, 1), ["rank_histogram"]).ranks(1, 1)
    np.testing.assert_allclose(shares[0], expected, atol=1e-6)
    half = torch.tensor([-1.0, 0.0, 0.0, 1.0]).reshape(1, 4, 1, 1, 1).expand(1, 4, 1, 7, 1)
    shares, _ = scored(truth, half, ["rank_histogram"]).ranks(1, 1)
    np.testing.assert_allclose(shares[0], [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=1e-6)


@pytest.mark.parametrize("n_members", [2, 3, 38, 39, 200])
def test_the_number_of_ranks_is_bounded(n_members):
    stream = scored(torch.randn(1, 1, 500, 1), torch.randn(1, n_members, 1, 500, 1))
    shares, expected = stream.ranks(1, 1)
    assert len(rank_cuts(n_members)) <= 2 * MAX_LEVELS
    assert expected.sum() == pytest.approx(1)
    assert shares.sum() == pytest.approx(1)
    assert stream.coverage(1, 1).shape == (1, len(interval_levels(n_members)))


def test_broken_members_have_no_rank():
    forecast = torch.randn(1, 4, 1, 50, 2)
    forecast[0, 2, 0, 3, 1] = torch.nan
    shares, _ = scored(torch.randn(1, 1, 50, 2), forecast).ranks(1, 1)
    assert np.isfinite(shares[0]).all()
    assert np.isnan(shares[1]).all()


@pytest.mark.parametrize("n_members", SIZES)
def test_interpolated_quantiles_find_a_perfect_ensemble_too_narrow(n_members):
    """They cover p (M - 1) / (M + 1), so the score errs by the mean level times 2 / (M + 1)."""
    found = value(scored(*normal(n_members), ["coverage@interpolated"]), "coverage@interpolated")
    assert found == pytest.approx(np.mean(INTERPOLATED_LEVELS) * 2 / (n_members + 1), rel=0.2, abs=0.003)


def test_interpolated_quantiles_prefer_a_wide_ensemble_and_ranks_do_not():
    perfect, wide = (scored(*normal(10, scale), ["coverage", "coverage@interpolated"]) for scale in (1.0, 1.3))
    assert value(wide, "coverage@interpolated") < value(perfect, "coverage@interpolated")
    assert value(wide, "coverage_error") > value(perfect, "coverage_error")


def test_the_winkler_score_prefers_the_calibrated_ensemble():
    narrow, perfect, wide = (value(scored(*normal(16, s), ["winkler"]), "winkler") for s in (0.6, 1.0, 1.6))
    assert perfect < narrow
    assert perfect < wide


def test_axes_are_not_confused_where_members_are_as_many_as_channels():
    truth, forecast = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 4, 1, 4, 4, 4)
    stream = scored(truth, forecast, tuple(METRICS))
    for c in range(4):
        alone = scored(truth[..., c : c + 1], forecast[..., c : c + 1], tuple(METRICS))
        for metric in stream.metrics:
            for kind in metric.kinds_of(4):
                together = stream.in_window(metric, kind, 1, 1)[c]
                np.testing.assert_allclose(
                    together, alone.in_window(metric, kind, 1, 1)[0], rtol=2e-5, atol=1e-6, err_msg=metric.name
                )
