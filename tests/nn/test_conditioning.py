import torch

from autocast.nn.conditioning import Modulation, sinusoidal_embedding


def test_the_embedding_of_time_tells_times_apart():
    t = torch.linspace(0, 1, 33)
    embedding = sinusoidal_embedding(t, 32)
    assert embedding.shape == (33, 32)
    assert embedding.abs().max() <= 1
    distances = torch.cdist(embedding, embedding) + 10 * torch.eye(33)
    assert distances.min() > 0.5


def test_a_modulation_starts_near_its_constants():
    scale, shift = Modulation(3, 5, initial=(1.0, 0.0))(torch.randn(4, 3))
    assert scale.shape == shift.shape == (4, 5)
    assert (scale - 1).abs().max() < 1
    assert scale.std(dim=0).min() > 0


def test_a_modulation_without_a_condition_is_constant():
    (gate,) = Modulation(0, 5, initial=(0.1,))(torch.empty(4, 0))
    torch.testing.assert_close(gate, torch.full((1, 5), 0.1))
