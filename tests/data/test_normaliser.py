from __future__ import annotations

import numpy as np
import pytest
import torch

from autocast.data.normaliser import Normaliser, fit_normaliser
from autocast.errors import ConfigError

MEAN, STD = np.array([2.0, -3e4, 5e-7]), np.array([0.5, 10.0, 1e-7])


LIMITS = (np.array([-1.0, -3.1e4, 2e-7]), np.array([4.0, -2.9e4, 9e-7]))


@pytest.mark.parametrize("kind", ["zscore", "rms", "minmax", "none"])
def test_back_and_forth_is_the_identity(kind):
    normaliser = fit_normaliser(kind, MEAN, STD, limits=LIMITS)
    x = torch.from_numpy(np.random.default_rng(0).normal(MEAN, STD, (4, 2, 8, 3))).float()
    torch.testing.assert_close(normaliser.denormalise(normaliser.normalise(x)), x, rtol=1e-6, atol=0)


def test_zscore_gives_mean_zero_and_deviation_one_at_any_scale():
    x = torch.from_numpy(np.random.default_rng(0).normal(MEAN, STD, (4000, 3))).float()
    z = fit_normaliser("zscore", MEAN, STD).normalise(x)
    assert z.mean(dim=0).abs().max() < 0.1
    assert (z.std(dim=0) - 1).abs().max() < 0.1


def test_rms_keeps_zero():
    normaliser = fit_normaliser("rms", np.array([3.0]), np.array([4.0]))
    assert normaliser.normalise(torch.tensor([[0.0], [5.0]])).tolist() == [[0.0], [1.0]]


def test_minmax_gives_the_range_from_minus_one_to_one():
    normaliser = fit_normaliser("minmax", MEAN, STD, limits=LIMITS)
    low, high = (normaliser.normalise(torch.from_numpy(limit).float()) for limit in LIMITS)
    torch.testing.assert_close(low, -torch.ones(3), rtol=1e-5, atol=0)
    torch.testing.assert_close(high, torch.ones(3), rtol=1e-5, atol=0)


def test_a_constant_channel_is_only_shifted():
    normaliser = fit_normaliser("zscore", np.array([7.0, 0.0]), np.array([1e-9, 0.0]))
    assert normaliser.normalise(torch.tensor([8.0, 2.0])).tolist() == [1.0, 2.0]


def test_the_input_is_not_changed_and_gets_a_gradient():
    normaliser = fit_normaliser("zscore", MEAN, STD)
    x = torch.ones(2, 3, requires_grad=True)
    normaliser.normalise(x).sum().backward()
    assert torch.equal(x, torch.ones(2, 3))
    torch.testing.assert_close(x.grad[0], 1 / normaliser.std)


def test_it_is_stored_in_the_state():
    state = fit_normaliser("zscore", MEAN, STD).state_dict()
    other = Normaliser.identity(3)
    other.load_state_dict(state)
    assert other.mean.dtype == torch.float32
    assert torch.equal(other.std, state["std"])


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"normalisation=robust.*zscore, rms, minmax, none"):
        fit_normaliser("robust", MEAN, STD)
