import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.fno import FNO, FourierBlock


def build(grid_shape=(8, 12), periodic=(True, True), **options):
    options = {"width": 6, "blocks": 2, "modes": 3, **options}
    return FNO(2, 3, grid_shape=grid_shape, periodic=periodic, condition_features=0, **options)


@torch.no_grad()
@pytest.mark.parametrize(("grid_shape", "shift"), [((9,), (2,)), ((8, 9), (3, 5)), ((4, 5, 6), (1, 2, 3))])
def test_it_commutes_with_every_shift(grid_shape, shift):
    network = build(grid_shape, (True,) * len(grid_shape)).double()
    x, nothing = torch.randn(2, 2, *grid_shape).double(), torch.empty(2, 0)
    axes = tuple(range(2, 2 + len(grid_shape)))
    torch.testing.assert_close(network(x.roll(shift, axes), nothing), network(x, nothing).roll(shift, axes))


@torch.no_grad()
def test_the_fourier_branch_is_used():
    """Without it the block acts point by point."""
    block = FourierBlock(4, grid_shape=(8, 12), periodic=(True, True), modes=2)
    x, nothing = torch.randn(1, 4, 8, 12), torch.empty(1, 0)
    before = block(x, nothing)
    block.spectral.weight.zero_()
    assert (block(x, nothing) - before).square().mean() > 1e-4 * (before - x).square().mean()
    exchanged = x.flatten(2)[..., torch.randperm(96)].reshape(x.shape)
    torch.testing.assert_close(
        block(x, nothing).flatten(2).sort(2).values, block(exchanged, nothing).flatten(2).sort(2).values
    )


@pytest.mark.parametrize("option", ["width", "blocks", "modes"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ConfigError, match=f"backbone.{option}=0: an FNO needs at least 1"):
        build(**{option: 0})
