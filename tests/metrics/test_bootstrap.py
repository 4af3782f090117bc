import math

import numpy as np
import pytest

from autocast.metrics.bootstrap import bootstrap, bootstrap_mean, paired_difference, paired_ratio

RNG = np.random.default_rng(7)


def test_mean_has_the_interval_of_the_normal_theory():
    values = RNG.normal(3.0, 2.0, 200)
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_intervals_cover_as_often_as_they_say():
    for n in (8, 40):
        values = np.random.default_rng(n).normal(size=(n, 2000))
        for level in (0.95, 0.8):
            found = bootstrap_mean(values, level=level, n_resamples=1000)
            assert 1 - found.excludes(0.0).mean() == pytest.approx(level, abs=0.02)


N_REPETITIONS = 500
SCORES = {"normal": (lambda rng, size: rng.normal(1.0, 0.3, size), 1.0),
          "skewed": (lambda rng, size: rng.lognormal(0.0, 0.5, size), math.exp(0.125))}  # fmt: skip


@pytest.mark.parametrize("kind", SCORES)
def test_thirty_trajectories_are_enough_for_the_level(kind):
    draw, truth = SCORES[kind]
    values = draw(np.random.default_rng(0), (30, N_REPETITIONS))
    found = bootstrap_mean(values, n_resamples=2000)
    assert 0.92 <= 1 - found.excludes(truth).mean() <= 0.98


def test_thirty_trajectories_are_enough_for_a_ratio_of_means():
    """Such as the ratio of spread and skill."""
    rng = np.random.default_rng(1)
    hard = rng.lognormal(0.0, 0.5, (30, N_REPETITIONS))
    variance, error = hard * rng.lognormal(0.0, 0.3, hard.shape), hard * rng.lognormal(0.0, 0.4, hard.shape)
    found = bootstrap(lambda a, b: np.sqrt(a / b), variance, error, n_resamples=2000)
    assert 0.92 <= 1 - found.excludes(math.exp(0.25 * (0.09 - 0.16))).mean() <= 0.98


def test_two_equal_models_are_seldom_called_different():
    rng = np.random.default_rng(2)
    hard = rng.lognormal(0.0, 0.5, (30, N_REPETITIONS))
    first, second = (hard * rng.lognormal(0.0, 0.3, hard.shape) for _ in range(2))
    assert paired_difference(first, second, n_resamples=2000).excludes(0.0).mean() <= 0.08


def test_two_values_resample_to_their_mean_and_themselves():
    found = bootstrap_mean(np.array([0.0, 1.0]))
    assert (found.low, found.estimate, found.high) == (0.0, 0.5, 1.0)


def test_pairs_cancel_what_is_hard_for_both():
    hard = RNG.exponential(10.0, 64)
    first, second = hard + 1.0 + 0.1 * RNG.normal(size=64), hard
    found = paired_difference(first, second)
    assert found.excludes(0.0)
    assert found.low < 1.0 < found.high
    assert found.high - found.low < 0.1
    assert not bootstrap(lambda a, b: a - b, first, RNG.permutation(second)).excludes(0.0)


def test_the_ratio_of_a_model_to_a_multiple_of_itself_is_sure():
    values = RNG.exponential(1.0, 16)
    found = paired_ratio(3 * values, values)
    np.testing.assert_allclose([found.low, found.estimate, found.high], 3.0)


def test_ratios_are_of_means():
    first, second = np.array([1.0, 9.0]), np.array([1.0, 1.0])
    assert paired_ratio(first, second).estimate == 5.0
    assert paired_ratio(second, first).estimate == 0.2


def test_every_column_is_as_alone():
    values = RNG.normal(size=(12, 3, 2))
    together = bootstrap_mean(values, seed=3)
    alone = bootstrap_mean(values[:, 1, 0], seed=3)
    assert together.low.shape == (3, 2)
    assert together.low[1, 0] == pytest.approx(alone.low)
    assert together.high[1, 0] == pytest.approx(alone.high)


def test_seeds_repeat():
    values = RNG.normal(size=12)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1).low != bootstrap_mean(values, seed=2).low


def test_a_formula_of_several_averages():
    spread, skill = RNG.exponential(4.0, 50), RNG.exponential(1.0, 50)
    found = bootstrap(lambda a, b: np.sqrt(a / b), spread, skill)
    assert found.estimate == pytest.approx(math.sqrt(spread.mean() / skill.mean()))
    assert found.low < found.estimate < found.high


def test_what_is_not_a_number_stays_so():
    values = np.ones((4, 2))
    values[2, 1] = np.nan
    found = bootstrap_mean(values)
    assert found.low[0] == 1.0
    assert np.isnan([found.estimate[1], found.low[1], found.high[1]]).all()
    assert not found.excludes(0.0)[1]


@pytest.mark.parametrize("values", [(np.ones(1),), (np.ones(3), np.ones(4))])
def test_too_few_or_unpaired_trajectories_are_refused(values):
    with pytest.raises(ValueError, match="trajectories"):
        bootstrap(lambda *means: means[0], *values)


def test_levels_are_probabilities():
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean(np.ones(3), level=95.0)
