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


def test_a_kernel_may_reach_around_the_coarsest_grid():
    network = build(levels=3, blocks=1, kernel_size=7)
    assert network(torch.randn(2, 2, 8, 12), torch.empty(2, 0)).isfinite().all()


def test_explicit_keys_do_not_depend_on_the_size():
    keys = {"width": 8, "levels": 2, "blocks": 1, "kernel_size": 3, "attention": []}
    shapes = [{name: p.shape for name, p in build(size=size, **keys).named_parameters()} for size in ("xs", "l")]
    assert shapes[0] == shapes[1]
    assert not any("attention" in name for name in shapes[0])


def test_attention_follows_every_block_of_the_chosen_levels():
    network = build(levels=3, blocks=2, attention=[1, 2])
    names = {name.split(".attention.")[0] for name, _ in network.named_parameters() if ".attention." in name}
    assert names == {f"{stack}.{i}" for stack in ("down_stacks.1", "down_stacks.2", "up_stacks.1") for i in (1, 3)}


@torch.no_grad()
@pytest.mark.parametrize("grid_shape", [(8,), (8, 12), (4, 8, 4)])
def test_attention_connects_distant_points_and_commutes_with_shifts(grid_shape):
    periodic = (True,) * len(grid_shape)
    network = build(grid_shape, periodic, levels=1, blocks=1, kernel_size=1, attention=[0]).double()
    x, nothing = torch.randn(1, 2, *grid_shape).double(), torch.empty(1, 0)
    y, last = network(x, nothing), 1 + len(grid_shape)
    torch.testing.assert_close(network(x.roll(3, last), nothing), y.roll(3, last))
    nearer = x.clone()
    nearer.select(last, 1).add_(1)
    farther = x.clone()
    farther.select(last, 2).add_(1)
    one, two = (network(other, nothing).select(last, 0) for other in (nearer, farther))
    assert (one - two).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("attention", "said"), [([3], r"attention=\[3\]: the levels are 0 .* to 2"), ([-1], "attention")]
)
def test_attention_at_a_level_that_is_not_there_is_refused(attention, said):
    with pytest.raises(ConfigError, match=said):
        build(levels=3, attention=attention)


def test_a_size_with_fewer_levels_keeps_its_attention_to_those():
    assert not any(".attention." in name for name, _ in build(size="m", levels=2).named_parameters())


def test_attention_needs_an_even_width():
    with pytest.raises(ConfigError, match=r"backbone.width=7: attention at level 0"):
        build(width=7, attention=[0])


def test_even_kernels_are_refused():
    with pytest.raises(ConfigError, match="kernel_size=2: must be odd"):
        build(kernel_size=2)
