"""The intervals beside scores: of trajectories that are drawn anew, with all of their lead times."""

import numpy as np
import pytest
import torch

from autocast.metrics.bootstrap import bootstrap, bootstrap_mean
from autocast.metrics.registry import METRICS
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import N_RESAMPLES, TermStream
from autocast.metrics.terms import Window

GRID, C, M, N, L = Grid((6, 8), (1.0, 1.0)), 2, 4, 12, 5


@pytest.fixture
def stream():
    rng = torch.Generator().manual_seed(0)
    lengths = [L] * (N - 1) + [L - 2]
    found = TermStream(
        [METRICS[name] for name in ("rmse", "ssr", "valid_time_correlation", "rank_error")],
        n_members=M,
        lengths=lengths,
        n_channels=C,
        grid=GRID,
    )
    for i, length in enumerate(lengths):
        truth = torch.randn(1, length, *GRID.shape, C, generator=rng)
        scale = 0.1 + 0.1 * i
        forecast = truth[:, None] + scale * torch.randn(1, M, length, *GRID.shape, C, generator=rng)
        found.add([i], 0, Window(truth, forecast, GRID))
    return found


def with_all(values):
    return np.concatenate([values.mean(-1, keepdims=True), values], axis=-1)


def test_a_plain_score_is_resampled_by_trajectory(stream):
    rmse = METRICS["rmse"]
    values = with_all(np.stack([stream.by_trajectory(rmse, "member", lead, lead) for lead in (1, 2, 3)], axis=1))
    expected = bootstrap_mean(values, n_resamples=N_RESAMPLES)
    low, high = stream.bounds_by_lead_time(rmse, "member")
    np.testing.assert_allclose(low[:3], expected.low)
    np.testing.assert_allclose(high[:3], expected.high)
    assert np.isfinite(low).all()  # later lead times, which one trajectory does not reach, too
    assert (low[:, 0] < with_all(stream.by_lead_time(rmse, "member"))[:, 0]).all()


def test_a_pooled_score_is_a_formula_of_resampled_averages(stream):
    ssr = METRICS["ssr"]
    terms = [stream.term_by_trajectory(name, 1, 1) for name in ("ensemble_variance", "mean_mse")]
    expected = bootstrap(
        lambda variance, mse: with_all(np.sqrt((M + 1) / M * variance / mse)), *terms, n_resamples=N_RESAMPLES
    )
    low, high = stream.bounds_in_window(ssr, "ensemble", 1, 1)
    np.testing.assert_allclose(low, expected.low)
    np.testing.assert_allclose(high, expected.high)


@pytest.mark.parametrize(("name", "kind"), [("rank_error", "ensemble"), ("valid_time_correlation", "mean")])
def test_other_scores_have_bounds_around_them(stream, name, kind):
    low, high = stream.bounds_in_window(METRICS[name], kind, 1, L)
    score = with_all(stream.in_window(METRICS[name], kind, 1, L))
    assert ((low <= score) & (score <= high)).all()
    assert (low < high).any()


def test_blocks_of_lead_times_change_nothing(stream, monkeypatch):
    whole = stream.bounds_by_lead_time(METRICS["rank_error"], "ensemble")
    monkeypatch.setattr("autocast.metrics.streams.BLOCK_NUMBERS", 1)
    np.testing.assert_allclose(stream.bounds_by_lead_time(METRICS["rank_error"], "ensemble"), whole, rtol=1e-12)


def test_one_trajectory_has_no_bounds():
    stream = TermStream([METRICS["rmse"]], n_members=1, lengths=[2], n_channels=C, grid=GRID)
    truth = torch.zeros(1, 2, *GRID.shape, C)
    stream.add([0], 0, Window(truth, truth[:, None] + 1, GRID))
    assert np.isnan(stream.bounds_by_lead_time(METRICS["rmse"], "member")).all()
    assert stream.bounds_by_lead_time(METRICS["rmse"], "member")[0].shape == (2, 1 + C)
