import pytest
import torch

from autocast.losses.reconstruction import mse, vmse


def test_known_values():
    forecast, truth = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 3.0, 8.0])
    assert mse(forecast, truth) == 5


def test_vmse_divides_by_the_variance_in_space_of_each_channel_and_step():
    truth = torch.tensor([[0.0, 2.0], [10.0, 30.0]]).reshape(1, 2, 2, 1)  # two steps of two points
    error = torch.tensor([[1.0, 1.0], [1.0, 3.0]]).reshape(1, 1, 2, 2, 1)
    torch.testing.assert_close(vmse(error, truth, 1), torch.tensor((1 / 2 + 1 / 2 + 1 / 200 + 9 / 200) / 4))


def test_vmse_of_a_uniform_field_is_finite():
    assert vmse(torch.ones(2, 3, 1, 4, 1), torch.zeros(2, 1, 4, 1), 1) == pytest.approx(1e7)
