import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from autocast.training.averaging import Averages


def averaged(model, decay=0.999):
    average = AveragedModel(model, use_buffers=True)
    return average, Averages(average, model, decay)


def test_the_memory_grows_with_the_run():
    model = nn.Linear(1, 1, bias=False)
    average, averages = averaged(model)
    for value in range(1001):
        nn.init.constant_(model.weight, float(value))
        averages.update()
    lag = 1000 - average.module.weight.item()
    assert 50 < lag < 150  # about a tenth of the run; a fixed decay of 0.999 would lag by 632


def test_equal_values_never_drift():
    model = nn.BatchNorm1d(3)
    model.running_mean.copy_(torch.tensor([0.1, 1 / 3, 1e7]))
    average, averages = averaged(model)
    for _ in range(100):
        averages.update()
    assert torch.equal(average.module.running_mean, model.running_mean)


def test_whole_numbers_follow_the_model():
    model = nn.BatchNorm1d(3)
    average, averages = averaged(model)
    for step in range(5):
        model.num_batches_tracked.fill_(step)
        averages.update()
    assert average.module.num_batches_tracked == 4
