import torch

from autocast.losses.reconstruction import mae, mse


def test_known_values():
    forecast, truth = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 3.0, 8.0])
    assert mse(forecast, truth) == 5
    assert mae(forecast, truth) == 1.5
