import pytest
import torch

from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle


@pytest.mark.parametrize("grid_shape", [(8,), (8, 12), (4, 8, 12), (4, 4, 4)])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_round_trip_is_exact(grid_shape, factor):
    x = torch.randn(2, 3, *grid_shape)
    coarse = pixel_unshuffle(x, factor)
    assert coarse.shape == (2, 3 * factor ** len(grid_shape), *(n // factor for n in grid_shape))
    assert torch.equal(pixel_shuffle(coarse, factor), x)


def test_three_axes_follow_the_order_of_two():
    x = torch.randn(2, 3, 8, 12)
    flat = pixel_unshuffle(x, 2)
    deep = pixel_unshuffle(x[:, :, None].expand(-1, -1, 2, -1, -1), 2)
    assert torch.equal(deep.unflatten(1, (3, 2, 4))[:, :, 0].flatten(1, 2)[:, :, 0], flat)


def test_one_axis_puts_neighbours_in_neighbouring_channels():
    assert pixel_unshuffle(torch.arange(6.0).reshape(1, 1, 6), 2).tolist() == [[[0, 2, 4], [1, 3, 5]]]
