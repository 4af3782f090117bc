import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autocast.nn.deep_compression import DeepCompressionDown, DeepCompressionUp, saturate
from autocast.nn.shuffle import pixel_shuffle, pixel_unshuffle


def test_saturation_keeps_small_values_and_bounds_large_ones():
    z = torch.tensor([1e-3, -0.01, 1e6, -1e6])
    torch.testing.assert_close(saturate(z, 5.0), torch.tensor([1e-3, -0.01, 5.0, -5.0]))


@pytest.mark.parametrize("shortcut", [False, True])
def test_the_way_up_costs_what_the_way_down_does(shortcut):
    options = {"periodic": (True, True), "widths": (8, 16, 32), "blocks": (1, 2, 0), "shortcut": shortcut}
    x, z = torch.randn(1, 2, 16, 24), torch.randn(1, 4, 2, 3)
    with FlopCounterMode(display=False) as down:
        assert DeepCompressionDown(2, 4, **options)(x).shape == z.shape
    with FlopCounterMode(display=False) as up:
        assert DeepCompressionUp(4, 2, **options)(z).shape == x.shape
    assert down.get_total_flops() == up.get_total_flops() > 0


@torch.no_grad()
@pytest.mark.parametrize("grid_shape", [(8,), (8, 12), (4, 8, 12)])
def test_a_shortcut_averages_on_the_way_down_and_repeats_on_the_way_up(grid_shape):
    n_points = 2 ** len(grid_shape)
    options = {"periodic": (True,) * len(grid_shape), "widths": (4, 4), "blocks": (0, 0), "shortcut": True}
    down, up = DeepCompressionDown(2, 3, **options), DeepCompressionUp(3, 2, **options)
    for network in (down, up):
        for parameter in network.mixes[1].parameters():
            parameter.zero_()
    x, z = torch.randn(2, 2, *grid_shape), torch.randn(2, 3, *(n // 4 for n in grid_shape))
    fine = down.mixes[0](pixel_unshuffle(x, 2))
    torch.testing.assert_close(down(x), down.tail(pixel_unshuffle(fine, 2).unflatten(1, (4, n_points)).mean(2)))
    coarse = up.head(z)
    for axis in range(2, coarse.ndim):
        coarse = coarse.repeat_interleave(2, dim=axis)
    torch.testing.assert_close(up(z), pixel_shuffle(up.mixes[0](coarse), 2))
