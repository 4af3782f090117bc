import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.unet import UNet


def build(grid_shape=(8, 12), periodic=(True, True), **options):
    return UNet(2, 3, grid_shape=grid_shape, periodic=periodic, condition_features=0, **{"width": 8, **options})


@pytest.mark.parametrize("grid_shape", [(7, 10), (9, 5), (1, 2), (13, 8)])
@pytest.mark.parametrize("periodic", [(True, False), (True, True)])
def test_any_grid_will_do(grid_shape, periodic):
    network = build(grid_shape, periodic, levels=3, blocks=1)
    assert network(torch.randn(2, 2, *grid_shape), torch.empty(2, 0)).shape == (2, 3, *grid_shape)


@torch.no_grad()
def test_one_level_commutes_with_every_shift():
    network = build(levels=1, blocks=4)
    x, nothing = torch.randn(2, 2, 8, 12), torch.empty(2, 0)
    shifted = network(x.roll((1, 5), (2, 3)), nothing)
    torch.testing.assert_close(shifted, network(x, nothing).roll((1, 5), (2, 3)), rtol=1e-4, atol=1e-5)


def test_a_latent_network_has_the_size_of_the_recipe():
    network = UNet(
        32, 16, grid_shape=(8, 8), periodic=(True, True), condition_features=32, width=64, levels=1, blocks=4
    )
    assert 350_000 < sum(p.numel() for p in network.parameters()) < 410_000


def test_the_output_keeps_the_fast_memory_format():
    y = build()(torch.randn(2, 2, 8, 12), torch.empty(2, 0))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("option", ["width", "levels", "blocks", "kernel_size"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ConfigError, match=f"backbone.{option}=0"):
        build(**{option: 0})


def test_a_kernel_that_reaches_around_the_coarsest_grid_is_refused():
    with pytest.raises(ConfigError, match=r"kernel_size=7 reaches more than once around.*levels=3, 2 points"):
        build(levels=3, kernel_size=7)
    build(periodic=(False, False), levels=3, kernel_size=7)


def test_even_kernels_are_refused():
    with pytest.raises(ConfigError, match="kernel_size=2: must be odd"):
        build(kernel_size=2)
