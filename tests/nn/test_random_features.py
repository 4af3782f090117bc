"""Convolutions with random weights: any dimension, periodic axes, the same for a seed."""

import pytest
import torch

from autocast.nn.random_features import RandomFeatures, n_levels


@pytest.mark.parametrize(
    ("grid_shape", "shapes"),
    [
        ((33,), [(16, 33), (32, 17), (64, 9), (64, 5)]),
        ((8, 12), [(16, 8, 12), (32, 4, 6)]),
        ((9, 8, 10), [(16, 9, 8, 10), (32, 5, 4, 5)]),
        ((2, 64), [(16, 2, 64)]),
    ],
)
def test_levels_halve_the_grid_while_four_points_are_left(grid_shape, shapes):
    network = RandomFeatures(2, grid_shape=grid_shape, periodic=(True,) * len(grid_shape))
    found = network(torch.randn(3, 2, *grid_shape))
    assert [tuple(x.shape[1:]) for x in found] == shapes
    assert n_levels(grid_shape) == len(shapes)
    assert all(0.1 < x.square().mean() < 10 for x in found)


def test_a_seed_gives_the_weights_and_leaves_other_random_numbers_alone():
    before = torch.get_rng_state()
    a, b, c = (RandomFeatures(1, grid_shape=(8,), periodic=(True,), seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_features_move_with_fields_along_periodic_axes():
    network = RandomFeatures(1, grid_shape=(16, 16), periodic=(True, False))
    x = torch.randn(1, 1, 16, 16)
    for found, moved in zip(network(x), network(x.roll(4, 2)), strict=True):
        step = 4 * found.shape[2] // 16
        torch.testing.assert_close(found.roll(step, 2), moved)
    assert not torch.allclose(network(x)[0].roll(4, 3), network(x.roll(4, 3))[0])
