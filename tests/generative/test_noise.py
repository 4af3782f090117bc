import pytest
import torch

from autocast.generative.noise import Noise

KEYS = [(7, 0, 0), (7, 0, 1), (7, 1, 0)]
LIKE = torch.zeros(1)


@pytest.mark.parametrize("draw", [Noise.normal, Noise.uniform])
def test_the_same_keys_give_the_same_numbers(draw):
    assert torch.equal(draw(Noise(KEYS), 4, 5, like=LIKE), draw(Noise(KEYS), 4, 5, like=LIKE))


def test_other_keys_give_other_numbers():
    x = Noise([*KEYS, (70, 0), (7, 0), (0, 7)]).normal(like=LIKE)
    assert x.unique().numel() == 6


def test_consecutive_calls_advance_the_streams():
    noise = Noise(KEYS)
    assert not torch.equal(noise.normal(3, like=LIKE), noise.normal(3, like=LIKE))


def test_a_row_does_not_depend_on_the_others():
    together, alone = Noise(KEYS), Noise(KEYS[1:2])
    for shape in [(3,), (2, 5, 4), ()]:
        assert torch.equal(together.normal(*shape, like=LIKE)[1:2], alone.normal(*shape, like=LIKE))


def test_precision_does_not_change_the_noise():
    single, double = (Noise(KEYS).normal(4, like=torch.zeros(1, dtype=d)) for d in (torch.float32, torch.float64))
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    Noise(KEYS).normal(5, like=LIKE)
    assert torch.equal(torch.randn(3), expected)


def test_the_distributions_are_right():
    keys = [(1, i) for i in range(64)]
    x, u = Noise(keys).normal(2, 32, 32, like=LIKE), Noise(keys).uniform(2, 32, 32, like=LIKE)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(torch.corrcoef(x.flatten(1)) - torch.eye(64)).max() < 0.1


def test_streams_are_the_same_in_every_release():
    expected = torch.tensor([[-0.384473, -0.73019]])
    torch.testing.assert_close(Noise([(42, 3, 1)]).normal(2, like=LIKE), expected)


@pytest.mark.gpu
def test_numbers_are_drawn_on_the_device():
    like = torch.zeros(1, device="cuda")
    x = Noise(KEYS).normal(4, like=like)
    assert x.device == like.device
    assert torch.equal(x[1:2], Noise(KEYS[1:2]).normal(4, like=like))
