import numpy as np
import pytest
import torch

from autocast.errors import ConfigError
from autocast.metrics import deterministic, probabilistic
from autocast.metrics.catalogue import DEFAULT_METRICS
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.stability import Reference
from autocast.metrics.streams import SpectrumStream, TermStream
from autocast.metrics.terms import Window

GRID = Grid((8, 12), (1.0, 1.5))
N, M, L, C = 5, 3, 7, 2


@pytest.fixture
def rollouts():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(N, L, *GRID.shape, C, generator=generator)
    return truth, truth.unsqueeze(1) + torch.randn(N, M, L, *GRID.shape, C, generator=generator)


def make_stream(metrics=tuple(METRICS), n_members=M, lengths=(L,) * N):
    return TermStream(resolve_metrics(metrics), n_members=n_members, lengths=lengths, n_channels=C, grid=GRID)


def fill(stream, truth, forecast, rows=((0, 1, 2, 3, 4),), steps=(L,)):
    for numbers in rows:
        start = 0
        for n in steps:
            batch, steps_of_window = list(numbers), slice(start, start + n)
            reference = Reference.of(truth[batch], GRID.n_dims)
            window = Window(truth[batch, steps_of_window], forecast[batch, :, steps_of_window], GRID, reference)
            stream.add(numbers, start, window)
            start += n
    return stream


def test_windows_and_batches_give_what_one_shot_gives(rollouts):
    whole = fill(make_stream(), *rollouts)
    pieces = fill(make_stream(), *rollouts, rows=((3, 4), (0,), (1, 2)), steps=(1, 4, 2))
    for metric in whole.metrics:
        for kind in metric.kinds_of(M):
            np.testing.assert_allclose(
                pieces.in_window(metric, kind, 2, 5), whole.in_window(metric, kind, 2, 5), rtol=1e-5
            )
            if metric.counts_steps:
                continue
            expected = whole.by_lead_time(metric, kind)
            assert expected.shape == (L, C)
            np.testing.assert_allclose(pieces.by_lead_time(metric, kind), expected, rtol=2e-6, err_msg=metric.name)


@pytest.mark.parametrize("name", ["mse", "mae", "rmse", "nmse", "nmae", "nrmse", "vmse", "vrmse", "linf"])
def test_formulas_of_terms_agree_with_the_scores(name, rollouts):
    truth, forecast = rollouts
    stream, score = fill(make_stream(), truth, forecast), getattr(deterministic, name)
    member, mean = score(truth, forecast, 2), score(truth, forecast.mean(1, keepdim=True), 2)
    np.testing.assert_allclose(stream.by_lead_time(METRICS[name], "member"), member.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stream.by_lead_time(METRICS[name], "mean"), mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stream.in_window(METRICS[name], "mean", 3, 6), mean[:, 2:6].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(stream.by_trajectory(METRICS[name], "mean", 1, L), mean.mean(1), rtol=1e-5)


@pytest.mark.parametrize("name", ["crps", "crps_fair", "crps_almost_fair"])
def test_crps_of_terms_agrees_with_the_scores(name, rollouts):
    stream, expected = fill(make_stream(), *rollouts), getattr(probabilistic, name)(*rollouts, 2).mean(0)
    np.testing.assert_allclose(stream.by_lead_time(METRICS[name], "ensemble"), expected, rtol=1e-5)


def test_spread_skill_and_their_ratio_are_of_means(rollouts):
    truth, forecast = rollouts
    stream = fill(make_stream(), truth, forecast)
    variance = forecast.var(1)[:, 1:4].mean((0, 1, 2, 3))
    error = (forecast.mean(1) - truth)[:, 1:4].square().mean((0, 1, 2, 3))
    for name, expected in [
        ("spread", variance.sqrt()),
        ("skill", error.sqrt()),
        ("ssr", ((M + 1) / M * variance / error).sqrt()),
    ]:
        np.testing.assert_allclose(stream.in_window(METRICS[name], "ensemble", 2, 4), expected, rtol=1e-5)


@pytest.mark.parametrize("n_members", [4, 16])
def test_exchangeable_ensembles_fit(n_members):
    truth, forecast = torch.randn(20, 1, 32, 32, 1), torch.randn(20, n_members, 1, 32, 32, 1)
    stream = TermStream(
        resolve_metrics(["ssr", "coverage"]),
        n_members=n_members,
        lengths=[1] * 20,
        n_channels=1,
        grid=Grid((32, 32), (1.0, 1.0)),
    )
    stream.add(range(20), 0, Window(truth, forecast, stream.grid))
    assert stream.in_window(METRICS["ssr"], "ensemble", 1, 1)[0] == pytest.approx(1, abs=0.015)
    assert stream.in_window(METRICS["coverage_error"], "ensemble", 1, 1)[0] < 0.01


def test_one_member_is_its_own_mean_and_has_no_spread(rollouts):
    truth, forecast = rollouts
    stream = make_stream(n_members=1)
    fill(stream, truth, forecast[:, :1])
    names = [metric.name for metric in stream.metrics]
    assert not {"spread", "skill", "ssr", "coverage_error"} & set(names)
    assert METRICS["rmse"].kinds_of(1) == ("member",)
    assert np.isfinite(stream.by_lead_time(METRICS["crps_fair"], "ensemble")).all()


def test_a_trajectory_is_never_counted_twice(rollouts):
    stream = fill(make_stream(), *rollouts, rows=((0, 1),))
    with pytest.raises(ValueError, match="already scored"):
        fill(stream, *rollouts, rows=((1, 2),))


def test_short_trajectories_count_as_far_as_they_go(rollouts):
    truth, forecast = rollouts
    stream = make_stream(("mae",), lengths=(L, L, L, L, 2))
    fill(stream, truth, forecast, rows=((0, 1, 2, 3),))
    fill(stream, truth, forecast, rows=((4,),), steps=(2,))
    expected = deterministic.mae(truth, forecast, 2)
    found = stream.by_lead_time(METRICS["mae"], "member")
    np.testing.assert_allclose(found[1], expected[:, 1].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[2], expected[:4, 2].mean(0), rtol=1e-6)
    assert stream.n_trajectories(1, 2) == 5
    assert stream.n_trajectories(3, L) == 4


def test_a_forecast_that_blew_up_stays_in_the_average(rollouts):
    truth, forecast = rollouts
    forecast[2, 1, 4] = torch.inf
    found = fill(make_stream(), truth, forecast).by_lead_time(METRICS["vrmse"], "member")
    assert np.isfinite(found[:4]).all()
    assert not np.isfinite(found[4]).any()


def test_spectra_are_averaged_over_trajectories(rollouts):
    truth, forecast = rollouts
    stream = SpectrumStream([1, 6], n_trajectories=N, n_channels=C, grid=GRID)
    fill(stream, truth, forecast, rows=((0, 1), (2, 3, 4)), steps=(3, 4))
    comparison = Window(truth, forecast, GRID)
    np.testing.assert_allclose(stream.average("truth"), comparison.member.truth_power.mean(0)[[0, 5]], rtol=1e-5)
    np.testing.assert_allclose(stream.average("member"), comparison.member.power.mean((0, 1))[[0, 5]], rtol=1e-5)
    np.testing.assert_allclose(stream.average("mean"), comparison.mean.power.mean((0, 1))[[0, 5]], rtol=1e-5)


def test_units_follow_the_score():
    assert [METRICS[name].unit("K") for name in ("rmse", "mse", "vrmse")] == ["K", "K²", "1"]
    assert METRICS["mse"].unit("m/s") == "(m/s)²"
    assert METRICS["mse"].unit("") == ""


def test_unknown_metrics_are_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"vrsme.*Did you mean vrmse\?"):
        resolve_metrics(["mse", "vrsme"])
    assert [m.name for m in resolve_metrics(["psrmse", "mse", "mse"])][-1] == "mse"
    assert resolve_metrics(DEFAULT_METRICS)


def test_spectra_have_intervals_over_trajectories(rollouts):
    truth, forecast = rollouts
    stream = SpectrumStream((1, 4), n_trajectories=N, n_channels=C, grid=GRID)
    fill(stream, truth, forecast)
    low, high = stream.bounds("member")
    average = stream.average("member")
    assert low.shape == average.shape == (2, GRID.n_shells, C)
    assert ((low < average) & (average < high)).all()
    alike = SpectrumStream((1,), n_trajectories=N, n_channels=C, grid=GRID)
    fill(alike, truth[:1].expand(N, -1, -1, -1, -1), forecast[:1].expand(N, -1, -1, -1, -1, -1))
    np.testing.assert_allclose(*alike.bounds("member"))
    alone = SpectrumStream((1,), n_trajectories=1, n_channels=C, grid=GRID)
    fill(alone, truth[:1], forecast[:1], rows=((0,),))
    assert alone.bounds("member") is None


def test_coverage_and_ranks_have_intervals_over_trajectories(rollouts):
    stream = fill(make_stream(["coverage", "rank_histogram"]), *rollouts)
    for values, (low, high) in (
        (stream.coverage(1, L), stream.coverage_bounds(1, L)),
        (stream.ranks(1, L)[0], stream.rank_bounds(1, L)),
    ):
        assert low.shape == (1 + C, values.shape[-1])
        everything = np.concatenate([values.mean(0, keepdims=True), values])
        assert ((low <= everything) & (everything <= high)).all()
        assert (low < high).any()
    alone = fill(make_stream(["coverage"], lengths=(L,)), rollouts[0][:1], rollouts[1][:1], rows=((0,),))
    assert np.isnan(alone.coverage_bounds(1, L)).all()
