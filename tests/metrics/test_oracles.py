"""Ensemble scores against `scoringrules`, by terms as an evaluation computes them and by their functions."""

import numpy as np
import pytest
import scoringrules
import torch

from autocast.metrics import probabilistic as scores
from autocast.metrics.catalogue import ALPHA, VARIOGRAM_ORDER, VARIOGRAM_PAIRS
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.streams import TermStream
from autocast.metrics.terms import Window

GRID = Grid((6, 7), (1.0, 1.0))
N_POINTS = 42
NAMES = ("crps", "crps_fair", "crps_almost_fair", "energy_score", "energy_score_fair", "variogram_score", "winkler")


def sample(n_members):
    generator = torch.Generator().manual_seed(n_members)
    truth = torch.randn(2, 3, *GRID.shape, 2, generator=generator, dtype=torch.float64)
    forecast = torch.randn(2, n_members, 3, *GRID.shape, 2, generator=generator, dtype=torch.float64)
    return truth, 0.3 + 1.2 * forecast


def vectors(truth, forecast):
    """`(B, T, C, S)` and `(B, T, C, M, S)`, as `scoringrules` wants them."""
    y = truth.flatten(2, 3).movedim(2, -1).numpy()
    return y, forecast.flatten(3, 4).permute(0, 2, 4, 1, 3).numpy()


def crps(y, x, estimator):
    return scoringrules.crps_ensemble(y, x, m_axis=-2, estimator=estimator).mean(-1)


def almost_fair(y, x):
    """By its definition in Lang et al. (2024): eps = (1 - alpha) / M."""
    n_members = x.shape[-2]
    eps = (1 - ALPHA) / n_members
    pairs = np.abs(x[..., :, None, :] - x[..., None, :, :]).sum((-3, -2))
    error = np.abs(x - y[..., None, :]).mean(-2)
    return (error - (1 - eps) * pairs / (2 * n_members * (n_members - 1))).mean(-1)


def variogram(y, x):
    weights = np.zeros((N_POINTS, N_POINTS))
    np.add.at(weights, tuple(scores.point_pairs(N_POINTS).numpy()), 1 / VARIOGRAM_PAIRS)
    return scoringrules.vs_ensemble(y, x, np.broadcast_to(weights, (*y.shape, N_POINTS)), p=VARIOGRAM_ORDER)


def winkler(y, x):
    n_members = x.shape[-2]
    place = scores.winkler_place(n_members)
    (a, b), level = scores.interval_ranks(n_members)[place], scores.interval_levels(n_members)[place]
    ordered = np.sort(x, axis=-2)
    return scoringrules.interval_score(y, ordered[..., a - 1, :], ordered[..., b - 1, :], 1 - level).mean(-1)


ORACLES = {
    "crps": lambda y, x: crps(y, x, "nrg"),
    "crps_fair": lambda y, x: crps(y, x, "fair"),
    "crps_almost_fair": almost_fair,
    "energy_score": scoringrules.es_ensemble,
    "energy_score_fair": lambda y, x: scoringrules.es_ensemble(y, x, estimator="fair"),
    "variogram_score": variogram,
    "winkler": winkler,
}


@pytest.mark.parametrize("n_members", [2, 5, 8])
@pytest.mark.parametrize("name", NAMES)
def test_scores_of_terms_agree_with_scoringrules(name, n_members):
    truth, forecast = sample(n_members)
    stream = TermStream(resolve_metrics([name]), n_members=n_members, lengths=[3, 3], n_channels=2, grid=GRID)
    stream.add([0, 1], 0, Window(truth, forecast, GRID))
    expected = ORACLES[name](*vectors(truth, forecast))
    np.testing.assert_allclose(stream.by_trajectory(METRICS[name], "ensemble", 1, 3), expected.mean(1), rtol=1e-9)
    np.testing.assert_allclose(stream.by_lead_time(METRICS[name], "ensemble"), expected.mean(0), rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "winkler"])
def test_functions_agree_with_scoringrules(name):
    truth, forecast = sample(5)
    expected = ORACLES[name](*vectors(truth, forecast))
    np.testing.assert_allclose(getattr(scores, name)(truth, forecast, 2), expected, rtol=1e-9)


@pytest.mark.parametrize("n_members", [4, 9, 64])
def test_interval_scores_of_all_levels_agree_with_scoringrules(n_members):
    truth, forecast = sample(n_members)
    y, x = vectors(truth, forecast)
    ordered, found = np.sort(x, axis=-2), scores.interval_score(truth, forecast, 2)
    levels = scores.interval_levels(n_members)
    for i, ((a, b), level) in enumerate(zip(scores.interval_ranks(n_members), levels, strict=True)):
        expected = scoringrules.interval_score(y, ordered[..., a - 1, :], ordered[..., b - 1, :], 1 - level)
        np.testing.assert_allclose(found[..., i], expected.mean(-1), rtol=1e-9)


def test_interpolated_quantiles_are_those_of_numpy():
    truth, forecast = sample(7)
    y, x = vectors(truth, forecast)
    found = scores.interpolated_coverage(truth, forecast, 2)
    for i, p in enumerate(scores.INTERPOLATED_LEVELS):
        low, high = np.quantile(x, [(1 - p) / 2, (1 + p) / 2], axis=-2)
        np.testing.assert_allclose(found[..., i], ((low <= y) & (y <= high)).mean(-1), rtol=1e-12)


def test_pairs_of_the_variogram_are_of_different_points_and_always_the_same():
    pairs = scores.point_pairs(42)
    assert pairs.shape == (2, VARIOGRAM_PAIRS)
    assert (pairs[0] != pairs[1]).all()
    scores.point_pairs.cache_clear()
    torch.testing.assert_close(scores.point_pairs(42), pairs)


def test_the_variogram_score_sees_structure_that_the_energy_score_hardly_does():
    """Members with the right values at every point, in the wrong places relative to each other."""
    generator = torch.Generator().manual_seed(0)
    amplitude = torch.randn(1, 17, 1, 1, 1, generator=generator)
    wave = torch.linspace(0, 6, 40).sin()[:, None]
    fields = amplitude * wave
    truth, right = fields[:, 0], fields[:, 1:]
    shuffled = torch.stack([m[:, torch.randperm(40, generator=generator)] for m in right[0]])[None]
    assert scores.variogram_score(truth, shuffled, 1) > scores.variogram_score(truth, right, 1)
