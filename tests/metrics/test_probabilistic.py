import numpy as np
import pytest
import scoringrules
import torch

from autocast.metrics import probabilistic as scores


def sample(n_members, seed=0, shape=(3, 4, 8, 12, 2)):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(*shape, generator=generator, dtype=torch.float64)
    forecast = 0.3 + 1.2 * torch.randn(shape[0], n_members, *shape[1:], generator=generator, dtype=torch.float64)
    return truth, forecast


@pytest.mark.parametrize("n_members", [2, 5])
@pytest.mark.parametrize(("score", "estimator"), [(scores.crps, "nrg"), (scores.crps_fair, "fair")])
def test_crps_agrees_with_scoringrules(score, estimator, n_members):
    truth, forecast = sample(n_members)
    pointwise = scoringrules.crps_ensemble(truth.numpy(), forecast.numpy(), m_axis=1, estimator=estimator)
    np.testing.assert_allclose(score(truth, forecast, 2).numpy(), pointwise.mean((2, 3)), rtol=1e-10)


def test_almost_fair_crps_lies_between_plain_and_fair():
    truth, forecast = sample(5)
    plain, almost, fair = (f(truth, forecast, 2) for f in (scores.crps, scores.crps_almost_fair, scores.crps_fair))
    eps = (1 - 0.95) / 5
    pairs = (plain - fair) * 5  # the plain score has (M - 1) / M of the fair one's pair term
    torch.testing.assert_close(almost, fair + eps * pairs)


def test_crps_of_one_member_is_its_absolute_error():
    truth, forecast = sample(1)
    error = (forecast[:, 0] - truth).abs().mean((2, 3))
    for score in (scores.crps, scores.crps_fair, scores.crps_almost_fair):
        torch.testing.assert_close(score(truth, forecast, 2), error)
    assert scores.half_pair_distance(truth, forecast, 2).abs().max() == 0


def test_equal_sizes_do_not_confuse_the_axes():
    truth, forecast = sample(3, shape=(3, 3, 3, 3, 3))
    for score in (scores.crps_fair, scores.interval_coverage):
        found = score(truth, forecast, 2)
        for c in range(3):
            alone = score(truth[..., c : c + 1], forecast[..., c : c + 1], 2)
            torch.testing.assert_close(found[:, :, c], alone[:, :, 0])
    torch.testing.assert_close(scores.ensemble_variance(forecast, 2), forecast.var(1).mean((2, 3)))


@pytest.mark.parametrize("n_members", [4, 7, 16, 64])
def test_rank_intervals_cover_what_they_promise_for_every_finite_ensemble(n_members):
    torch.manual_seed(0)
    truth, forecast = torch.randn(1, 1, 60000, 1), torch.randn(1, n_members, 1, 60000, 1)
    coverage = scores.interval_coverage(truth, forecast, 1)[0, 0, 0]
    levels = torch.tensor(scores.interval_levels(n_members))
    assert len(levels) <= 19
    assert (coverage - levels).abs().max() < 0.01


def test_coverage_tells_narrow_ensembles_from_wide_ones():
    torch.manual_seed(0)
    truth, forecast = torch.randn(1, 1, 20000, 1), torch.randn(1, 10, 1, 20000, 1)
    levels = torch.tensor(scores.interval_levels(10))
    narrow, wide = (scores.interval_coverage(truth, s * forecast, 1)[0, 0, 0] for s in (0.7, 1.3))
    assert (narrow < levels - 0.02).all()
    assert (wide > levels + 0.02).all()


def test_members_equal_to_the_truth_count_as_ties():
    truth = torch.zeros(1, 1, 5, 1)
    coverage = scores.interval_coverage(truth, torch.zeros(1, 8, 1, 5, 1), 1)[0, 0, 0]
    torch.testing.assert_close(coverage, torch.tensor(scores.interval_levels(8)))


def test_coverage_of_a_broken_forecast_is_not_a_number():
    forecast = torch.randn(1, 8, 2, 5, 1)
    forecast[0, 3, 1, 2] = torch.nan
    coverage = scores.interval_coverage(torch.randn(1, 2, 5, 1), forecast, 1)
    assert coverage[0, 0].isfinite().all()
    assert coverage[0, 1].isnan().all()


def test_interval_levels_are_exact():
    assert scores.interval_levels(4) == [3 / 5, 1 / 5]
    assert scores.interval_ranks(5) == [(1, 5), (2, 4)]
    assert len(scores.interval_ranks(200)) == 19
