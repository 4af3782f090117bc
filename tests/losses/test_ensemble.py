import numpy as np
import pytest
import scoringrules
import torch

from autocast.losses.ensemble import crps


def double_sum(members, truth, alpha):
    n_members = members.shape[1]
    error = (members - truth[:, None]).abs().mean(1)
    pairs = (members[:, :, None] - members[:, None]).abs().sum((1, 2))
    plain = error - pairs / (2 * n_members**2)
    fair = error - pairs / (2 * n_members * (n_members - 1))
    return alpha * fair + (1 - alpha) * plain


@pytest.mark.parametrize("n_members", [2, 3, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.95, 1.0])
def test_order_statistics_equal_the_double_sum(n_members, alpha):
    members, truth = torch.randn(3, n_members, 4, 5).double(), torch.randn(3, 4, 5).double()
    torch.testing.assert_close(crps(members, truth, alpha), double_sum(members, truth, alpha))


@pytest.mark.parametrize("alpha", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("n_members", [32, 256])
def test_many_members_in_single_precision_are_right_to_a_millionth(n_members, alpha):
    members, truth = torch.randn(2, n_members, 3, 4), torch.randn(2, 3, 4)
    expected = double_sum(members.double(), truth.double(), alpha)
    torch.testing.assert_close(crps(members, truth, alpha).double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("alpha", "estimator"), [(0.0, "nrg"), (1.0, "fair")])
def test_it_agrees_with_scoringrules(alpha, estimator):
    members, truth = torch.randn(6, 5).double(), torch.randn(6).double()
    expected = scoringrules.crps_ensemble(truth.numpy(), members.numpy(), estimator=estimator)
    np.testing.assert_allclose(crps(members, truth, alpha).numpy(), expected)


def test_large_values_do_not_cancel():
    members, truth = torch.randn(3, 4, 7), torch.randn(3, 7)
    torch.testing.assert_close(crps(members + 1024, truth + 1024, 1.0), crps(members, truth, 1.0), atol=1e-3, rtol=0)


def test_one_member_has_only_the_plain_score():
    members, truth = torch.randn(3, 1, 4), torch.randn(3, 4)
    torch.testing.assert_close(crps(members, truth, 0.0), (members[:, 0] - truth).abs())
    with pytest.raises(ValueError, match="two members"):
        crps(members, truth, 0.95)


def test_the_fair_score_of_the_right_distribution_is_its_exact_value():
    members, truth = torch.randn(200_000, 2).double(), torch.randn(200_000).double()
    assert float(crps(members, truth, 1.0).mean()) == pytest.approx(1 / np.sqrt(np.pi), rel=0.02)


def test_gradients_are_those_of_the_double_sum():
    members = torch.randn(3, 4, 5).double().requires_grad_()
    truth = torch.randn(3, 5).double()
    (expected,) = torch.autograd.grad(double_sum(members, truth, 0.95).sum(), members)
    (found,) = torch.autograd.grad(crps(members, truth, 0.95).sum(), members)
    torch.testing.assert_close(found, expected)
