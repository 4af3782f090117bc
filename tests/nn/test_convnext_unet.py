import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.convnext_unet import ConvNeXtBlock, ConvNeXtUNet


def build(grid_shape=(8, 12), periodic=(True, True), **options):
    options = {"width": 4, "levels": 3, "blocks": 1, **options}
    return ConvNeXtUNet(2, 3, grid_shape=grid_shape, periodic=periodic, condition_features=0, **options)


def test_the_published_network_has_its_size():
    """Of the published code with width 42, four steps down, two blocks: 18.6 million, but for the finest skip."""
    with torch.device("meta"):
        network = ConvNeXtUNet(
            16, 4, grid_shape=(128, 128), periodic=(True, True), condition_features=0, width=42, levels=5, blocks=2
        )
    assert 18.4e6 < sum(p.numel() for p in network.parameters()) < 18.7e6


@torch.no_grad()
def test_a_block_mixes_each_channel_over_seven_points_and_the_channels_at_a_point():
    block = ConvNeXtBlock(4, periodic=(False, True))
    x, nothing = torch.zeros(1, 4, 16, 16), torch.empty(1, 0)
    x[0] = torch.randn(4, 16, 16)
    other = x.clone()
    other[0, 1, 8, 8] += 10
    changed = (block(other, nothing) - block(x, nothing)).abs().amax(1)[0] > 1e-6
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[5:12, 5:12] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_a_block_acts_at_initialisation_in_single_precision():
    block = ConvNeXtBlock(8, periodic=(True, True))
    x, nothing = torch.randn(1, 8, 8, 8), torch.empty(1, 0)
    assert (block(x, nothing) - x).abs().mean() > 1e-3


@torch.no_grad()
def test_it_commutes_with_shifts_by_its_coarsest_step():
    network = build().double()
    x, nothing = torch.randn(2, 2, 8, 12).double(), torch.empty(2, 0)
    torch.testing.assert_close(network(x.roll(4, 3), nothing), network(x, nothing).roll(4, 3))


def test_the_output_keeps_the_fast_memory_format():
    y = build()(torch.randn(2, 2, 8, 12), torch.empty(2, 0))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("option", ["width", "levels", "blocks"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ConfigError, match=f"backbone.{option}=0: a ConvNeXt U-Net needs"):
        build(**{option: 0})
