"""Valid time, blow-up and drift, as a stream of windows finds them."""

import numpy as np
import pytest
import torch

from autocast.metrics.catalogue import BLOW_UP_RANGES
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.spectral import Grid
from autocast.metrics.stability import Reference
from autocast.metrics.streams import TermStream
from autocast.metrics.terms import Window

GRID = Grid((40, 50), (1.0, 1.0))
L = 6
NAMES = ("valid_time", "blow_up", "conservation")


@pytest.fixture
def truth():
    return torch.randn(3, L, *GRID.shape, 2, generator=torch.Generator().manual_seed(0))


def stream_of(truth, forecast, lengths=(L, L, L), windows=(2, 1, 3)):
    stream = TermStream(resolve_metrics(NAMES), n_members=forecast.shape[1], lengths=lengths, n_channels=2, grid=GRID)
    for i, length in enumerate(lengths):
        rows, start = slice(i, i + 1), 0
        reference = Reference.of(truth[rows, :length], GRID.n_dims)
        for n in windows:
            steps = slice(start, min(start + n, length))
            if steps.start < steps.stop:
                stream.add([i], start, Window(truth[rows, steps], forecast[rows, :, steps], GRID, reference))
            start += n
    return stream


def noisy(truth, scales, n_members=8):
    """Members about a centre that is as far from the truth as they are from it, by scale `(L,)`: calibrated."""
    generator = torch.Generator().manual_seed(1)
    scales = torch.tensor(scales).reshape(-1, 1, 1, 1)
    centre = truth + scales * torch.randn(truth.shape, generator=generator)
    shape = (len(truth), n_members, *truth.shape[1:])
    return centre.unsqueeze(1) + scales * torch.randn(shape, generator=generator)


def times(stream, name, kind):
    return stream.by_trajectory(METRICS[name], kind, 1, stream.n_steps)


def test_valid_time_is_the_first_lead_whose_correlation_is_low(truth):
    forecast = noisy(truth, [0.1, 0.2, 0.3, 5.0, 0.1, 5.0])
    forecast[1, ..., 1] = truth[1, None, ..., 1]
    found = times(stream_of(truth, forecast), "valid_time_correlation", "mean")
    np.testing.assert_array_equal(found, [[4, 4], [4, L + 1], [4, 4]])


def test_valid_time_is_the_first_lead_whose_spread_does_not_fit(truth):
    forecast = noisy(truth, [0.1] * L)
    forecast[0, :, 2, ..., 0] = forecast[0, :, 2, ..., 0].mean(0)
    forecast[2, :, 4:, ..., 1] *= 3
    forecast[2, :, 4:, ..., 1] -= 2 / 3 * forecast[2, :, 4:, ..., 1].mean(0)
    found = times(stream_of(truth, forecast), "valid_time_ssr", "ensemble")
    np.testing.assert_array_equal(found, [[3, L + 1], [L + 1, L + 1], [L + 1, 5]])


def test_valid_time_of_a_trajectory_ends_after_it(truth):
    stream = stream_of(truth, noisy(truth, [0.1] * L), lengths=(L, 3, L))
    assert times(stream, "valid_time_correlation", "mean")[:, 0].tolist() == [L + 1, 4, L + 1]
    found = stream.in_window(METRICS["valid_time_correlation"], "mean", 1, L)
    np.testing.assert_allclose(found, (2 * (L + 1) + 4) / 3)


def test_a_single_member_has_the_valid_time_of_its_own_correlation(truth):
    stream = stream_of(truth, noisy(truth, [0.1, 9.0, 0.1, 0.1, 0.1, 0.1], n_members=1))
    assert METRICS["valid_time_correlation"].kinds_of(1) == ("member",)
    assert (times(stream, "valid_time_correlation", "member") == 2).all()
    assert "valid_time_ssr" not in [metric.name for metric in stream.metrics]


def test_broken_forecasts_are_not_valid_and_constant_truths_do_not_end_validity(truth):
    forecast = noisy(truth, [0.1] * L)
    forecast[0, 3, 2, 0, 0, 0] = torch.inf
    truth[1, 1] = 4.0
    found = times(stream_of(truth, forecast), "valid_time_correlation", "mean")
    np.testing.assert_array_equal(found, [[3, L + 1], [L + 1, L + 1], [L + 1, L + 1]])


def test_members_blow_up_where_not_finite_or_far_from_the_truth(truth):
    forecast = truth.unsqueeze(1).repeat(1, 4, 1, 1, 1, 1)
    reach = BLOW_UP_RANGES * (truth[0, ..., 0].max() - truth[0, ..., 0].min())
    forecast[0, 0, 1, 3, 4, 0] = torch.nan
    forecast[0, 1, 1, 3, 4, 0] = -torch.inf
    forecast[0, 2, 1, 3, 4, 0] += 1.01 * reach
    forecast[0, 3, 1, 3, 4, 0] -= 0.99 * reach
    found = stream_of(truth, forecast).by_lead_time(METRICS["blow_up"], "member")
    expected = np.zeros((L, 2))
    expected[1, 0] = 0.75 / 3
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_of_a_constant_channel_only_what_is_not_finite_has_blown_up(truth):
    truth[..., 1] = 7.0
    forecast = truth.unsqueeze(1).repeat(1, 2, 1, 1, 1, 1) + 0.1
    forecast[:, 0, 3, 0, 0, 1] = torch.inf
    found = stream_of(truth, forecast).by_lead_time(METRICS["blow_up"], "member")
    np.testing.assert_array_equal(found[:, 1], [0, 0, 0, 0.5, 0, 0])


def test_a_mean_that_grows_and_an_energy_that_decays_drift(truth):
    truth = truth + 2.0
    first = truth[:, 0]
    rms = first.square().mean((1, 2)).sqrt()
    steps = torch.arange(L)
    growing = first[:, None, None] + 0.1 * (rms[:, None] * steps[:, None])[:, None, :, None, None, :]
    stream = stream_of(truth, growing)
    np.testing.assert_allclose(
        stream.by_lead_time(METRICS["mean_drift"], "member"), 0.1 * steps[:, None].expand(L, 2), atol=1e-5
    )
    decaying = (first[:, None, None] * (0.9 ** (steps / 2))[:, None, None, None]).expand(3, 2, L, *GRID.shape, 2)
    stream = stream_of(truth, decaying)
    np.testing.assert_allclose(
        stream.by_lead_time(METRICS["energy_drift"], "member"), (1 - 0.9**steps)[:, None].expand(L, 2), atol=1e-5
    )


def test_opposite_drifts_of_members_do_not_cancel(truth):
    first = truth[:, :1].unsqueeze(1).expand(3, 2, L, *GRID.shape, 2)
    stream = stream_of(truth, first + torch.tensor([-1.0, 1.0]).reshape(1, 2, 1, 1, 1, 1))
    assert stream.in_window(METRICS["mean_drift"], "member", 1, L).min() > 0.9


def test_what_is_measured_in_steps_has_its_unit():
    assert METRICS["valid_time_correlation"].unit("K") == "steps"
    assert METRICS["blow_up"].unit("K") == "1"
