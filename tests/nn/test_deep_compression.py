import torch
from torch.utils.flop_counter import FlopCounterMode

from autocast.nn.deep_compression import DeepCompressionDown, DeepCompressionUp, saturate


def test_saturation_keeps_small_values_and_bounds_large_ones():
    z = torch.tensor([1e-3, -0.01, 1e6, -1e6])
    torch.testing.assert_close(saturate(z, 5.0), torch.tensor([1e-3, -0.01, 5.0, -5.0]))


def test_the_way_up_costs_what_the_way_down_does():
    options = {"periodic": (True, True), "widths": (8, 16, 24), "blocks": (1, 2, 0)}
    x, z = torch.randn(1, 2, 16, 24), torch.randn(1, 4, 2, 3)
    with FlopCounterMode(display=False) as down:
        assert DeepCompressionDown(2, 4, **options)(x).shape == z.shape
    with FlopCounterMode(display=False) as up:
        assert DeepCompressionUp(4, 2, **options)(z).shape == x.shape
    assert down.get_total_flops() == up.get_total_flops() > 0
