"""Conformal intervals of synthetic trajectories whose errors are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autocast.evaluation.calibrated import IntervalStream, conformal_measure
from autocast.evaluation.calibration import DETERMINISTIC_LEVELS, ScoreHistograms, fit_conformal, fit_spread
from autocast.metrics.conformal import (
    COARSE_OCTAVE,
    N_BINS,
    bin_edges,
    coarsened,
    conformal_level,
    histogram_quantile,
    interval_scale,
    score_histogram,
    share_below,
    symmetric_intervals,
    trajectories_needed,
)
from autocast.metrics.probabilistic import interval_levels
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import TermStream
from autocast.metrics.terms import Window

GRID = Grid((6, 9), (1.0, 1.0))
N = 1000
SHAPE = (1, *GRID.shape, 2)


def histogram(scores):
    """`(1, n, 1)` to the counts of the only channel."""
    return score_histogram(scores.view(1, -1, 1), torch.ones(1, scores.numel(), 1))[0, 0].numpy()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 3e7])
def test_quantiles_of_a_histogram_are_exact_within_two_thousandths(scale):
    scores = scale * torch.randn(400_000, generator=torch.Generator().manual_seed(0)).mul(1.5).exp()
    for share in (0.05, 0.5, 0.8, 0.95, 0.999):
        found = histogram_quantile(histogram(scores), share)
        assert found == pytest.approx(np.quantile(scores.double().numpy(), share), rel=0.002)


def test_bins_are_where_their_edges_say():
    edges = bin_edges()
    assert len(edges) == N_BINS + 1
    inner = torch.from_numpy(edges[1:-1])
    np.testing.assert_array_equal(histogram(inner)[1:], np.ones(N_BINS - 1))  # an edge belongs to the bin above it
    below = torch.from_numpy(np.nextafter(edges[1:-1], 0))
    np.testing.assert_array_equal(histogram(below)[:-1], np.ones(N_BINS - 1))


def test_what_is_no_number_or_has_no_scale_is_infinitely_far_and_no_error_is_none():
    error, scale = torch.tensor([0.0, 0.0, 1.0, torch.nan, torch.inf]), torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    counts = score_histogram(error.view(1, -1, 1), scale.view(1, -1, 1))[0, 0]
    assert (counts[0], counts[-1], counts.sum()) == (2, 3, 5)
    assert histogram_quantile(counts.numpy(), 0.39) < 1e-15
    assert histogram_quantile(counts.numpy(), 0.41) == np.inf
    assert histogram_quantile(counts.numpy(), 1.01) == np.inf


def test_a_coarse_histogram_knows_shares_to_a_few_hundredths():
    scores = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).abs()
    counts = coarsened(histogram(scores))
    assert len(counts) == len(bin_edges(COARSE_OCTAVE)) - 1
    assert counts.sum() == 20_000
    for score in (0.0, 0.1, 1.0, 2.5, np.inf):
        share = share_below(counts[None], np.array(score))[0]
        assert share == pytest.approx(float((scores <= score).float().mean()), abs=0.02)


@pytest.mark.parametrize(("level", "n"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (7 / 9, 4)])
def test_a_level_needs_so_many_trajectories(level, n):
    assert trajectories_needed(level) == n
    assert conformal_level(level, n) <= 1
    assert n == 1 or conformal_level(level, n - 1) > 1


def test_points_without_spread_have_a_hundredth_of_the_frames():
    forecast = torch.randn(1, 5, 1, 8, 12, 1, generator=torch.Generator().manual_seed(0))
    forecast[:, :, :, :4] = 2.0
    scale = interval_scale(forecast, 2)
    rms = forecast.var(1).mean().sqrt()
    torch.testing.assert_close(scale[:, :, :4], (0.01 * rms).expand(1, 1, 4, 12, 1))
    torch.testing.assert_close(scale[:, :, 4:], forecast[:, :, :, 4:].std(1))
    assert (interval_scale(forecast[:, :1], 2) == 1).all()


def test_an_interval_score_is_width_and_what_lies_outside():
    truth, centre = torch.tensor([0.0, 3.0]).view(1, 1, 2, 1), torch.zeros(1, 1, 2, 1)
    found = symmetric_intervals(truth, centre, torch.ones_like(truth), torch.tensor([[[2.0]]]), [0.8], 1)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 4.0, 4.0 + 0.5 * 10.0]))


def ensembles(n_members, dispersion, seed, common):
    """Truth `(N, 1, *S, 2)` and members: errors are skewed, and correlated by what a trajectory has in common."""
    generator = torch.Generator().manual_seed(seed)
    strength = (common * torch.randn(N, 1, 1, 1, 1, generator=generator)).exp()
    blob = torch.randn(N, 1, *(1 for _ in GRID.shape), 2, generator=generator)

    def skewed(*shape):
        return (
            torch.empty(*shape).exponential_(generator=generator) - 1 + 0.3 * torch.randn(*shape, generator=generator)
        )

    truth = strength * (skewed(N, *SHAPE) + common * blob)
    return truth, dispersion * strength.unsqueeze(1) * skewed(N, n_members, *SHAPE)


def windows(n_members, dispersion, seed, common=0.3, n_batch=250):
    truth, forecast = ensembles(n_members, dispersion, seed, common)
    for i in range(0, N, n_batch):
        batch = SimpleNamespace(numbers=tuple(range(i, i + n_batch)))
        yield batch, Window(truth[i : i + n_batch], forecast[i : i + n_batch], GRID)


@pytest.mark.parametrize(("n_members", "dispersion"), [(8, 0.4), (8, 2.0), (1, 0.0)], ids=["narrow", "wide", "single"])
def test_conformal_intervals_cover_as_they_say(n_members, dispersion):
    histograms = ScoreHistograms([1] * N, 2)
    for batch, window in windows(n_members, dispersion, seed=0):
        histograms.add(batch, 0, window)
    fitted = fit_conformal(histograms, n_members, np.array([N]))
    assert fitted.levels == tuple(interval_levels(n_members) if n_members > 1 else DETERMINISTIC_LEVELS[::-1])
    stream = IntervalStream(conformal_measure(fitted), fitted.levels, [1] * N, 2)
    for batch, window in windows(n_members, dispersion, seed=1):
        stream.add(batch, 0, window)
    coverage = stream.by_lead_time()[0, ..., 0]
    np.testing.assert_allclose(coverage, np.broadcast_to(fitted.levels, coverage.shape), atol=0.02)


@pytest.mark.parametrize("dispersion", [0.4, 2.0], ids=["narrow", "wide"])
def test_spread_is_made_to_fit_the_error_of_other_trajectories(dispersion):
    def stream():
        return TermStream(resolve_metrics(["ssr"]), n_members=8, lengths=[1] * N, n_channels=2, grid=GRID)

    validation, raw, calibrated = stream(), stream(), stream()
    for batch, window in windows(8, dispersion, seed=0, common=0.1):
        validation.add(batch.numbers, 0, window)
    fitted = fit_spread(validation)
    for batch, window in windows(8, dispersion, seed=1, common=0.1):
        raw.add(batch.numbers, 0, window)
        calibrated.add(batch.numbers, 0, window.scaled(torch.from_numpy(fitted.values).float()))
    assert (abs(raw.by_lead_time(METRICS["ssr"], "ensemble") - 1) > 0.3).all()
    np.testing.assert_allclose(calibrated.by_lead_time(METRICS["ssr"], "ensemble"), 1, atol=0.01)
