import numpy as np
import pytest
import torch

from autocast.metrics import deterministic as scores

ERRORS = [getattr(scores, name) for name in ("mse", "mae", "rmse", "nmse", "nmae", "nrmse", "vmse", "vrmse", "linf")]
ALL = [*ERRORS, scores.correlation]


@pytest.fixture
def truth() -> torch.Tensor:
    return torch.randn(3, 4, 8, 12, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def forecast(truth) -> torch.Tensor:
    return truth.unsqueeze(1) + torch.randn(3, 5, 4, 8, 12, 2, generator=torch.Generator().manual_seed(1))


def numpy_score(name, y, x):
    """One field `(*S)` by the book."""
    e = x - y
    return {
        "mse": (e**2).mean(),
        "mae": abs(e).mean(),
        "rmse": (e**2).mean() ** 0.5,
        "nmse": (e**2).mean() / (y**2).mean(),
        "nmae": abs(e).mean() / abs(y).mean(),
        "vmse": (e**2).mean() / (y.var(ddof=1) + 1e-7),
        "nrmse": ((e**2).mean() / (y**2).mean()) ** 0.5,
        "vrmse": ((e**2).mean() / (y.var(ddof=1) + 1e-7)) ** 0.5,
        "linf": abs(e).max(),
        "correlation": np.corrcoef(x.ravel(), y.ravel())[0, 1],
    }[name]


@pytest.mark.parametrize("score", ALL)
def test_scores_follow_their_definitions_for_every_trajectory_lead_and_channel(score, truth, forecast):
    found = score(truth, forecast, n_spatial_dims=2)
    assert found.shape == (3, 4, 2)
    for b, t, c in [(0, 0, 0), (2, 3, 1), (1, 2, 0)]:
        y = truth[b, t, ..., c].double().numpy()
        members = [numpy_score(score.__name__, y, x) for x in forecast[b, :, t, ..., c].double().numpy()]
        assert found[b, t, c].item() == pytest.approx(sum(members) / 5, rel=1e-5)


@pytest.mark.parametrize("score", ALL)
@pytest.mark.parametrize("grid", [(7,), (7, 6), (5, 6, 4)])
def test_scores_work_in_one_to_three_dimensions(score, grid):
    truth = torch.randn(2, 3, *grid, 2)
    perfect = score(truth, truth.unsqueeze(1).repeat(1, 4, *[1] * (len(grid) + 2)), len(grid))
    torch.testing.assert_close(perfect, torch.full((2, 3, 2), 0.0 if score in ERRORS else 1.0))


@pytest.mark.parametrize("score", ALL)
def test_equal_sizes_do_not_confuse_the_axes(score):
    """Members, channels, steps, trajectories and grid all have size 3."""
    truth, forecast = torch.randn(3, 3, 3, 3, 3), torch.randn(3, 3, 3, 3, 3, 3)
    found = score(truth, forecast, n_spatial_dims=2)
    for b in range(3):
        for c in range(3):
            alone = score(truth[b : b + 1, ..., c : c + 1], forecast[b : b + 1, ..., c : c + 1], n_spatial_dims=2)
            torch.testing.assert_close(found[b, :, c], alone[0, :, 0])


def test_correlation_does_not_see_shifts_and_scales_but_signs(truth):
    forecast = torch.stack([2 * truth + 3, -truth, truth + 1])
    for sign, x in zip((1.0, -1.0, 1.0), forecast, strict=True):
        torch.testing.assert_close(scores.correlation(truth, x[:, None], 2), torch.full((3, 4, 2), sign))
    for scale in (1e-25, 1e25):
        torch.testing.assert_close(scores.correlation(scale * truth, scale * truth[:, None], 2), torch.ones(3, 4, 2))
    assert scores.correlation(truth, torch.ones_like(truth)[:, None], 2).isnan().all()


def test_mean_of_exchangeable_members_errs_less_than_a_member_as_theory_says():
    """The RMSE of a mean of M exchangeable members is sqrt((M + 1) / (2 M)) of one member's."""
    generator = torch.Generator().manual_seed(2)
    for n_members in (2, 8):
        truth = torch.randn(50, 1, 32, 32, 1, generator=generator)
        forecast = torch.randn(50, n_members, 1, 32, 32, 1, generator=generator)
        member = scores.rmse(truth, forecast, 2).mean()
        mean = scores.rmse(truth, forecast.mean(1, keepdim=True), 2).mean()
        assert (mean / member).item() == pytest.approx(((n_members + 1) / (2 * n_members)) ** 0.5, rel=0.01)


def test_vrmse_of_the_spatial_mean_is_one(truth):
    forecast = truth.mean((2, 3), keepdim=True).expand_as(truth).unsqueeze(1)
    n_points = 8 * 12
    expected = ((n_points - 1) / n_points) ** 0.5  # the truth's variance is unbiased
    torch.testing.assert_close(scores.vrmse(truth, forecast, 2), torch.full((3, 4, 2), expected))
