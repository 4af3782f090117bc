import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.attention import rotary_angles, wall_features
from autocast.nn.patches import fitting_patch_size
from autocast.nn.vit import ViT


def build(grid_shape=(8, 12), periodic=(True, False), **options):
    options = {"dim": 32, "depth": 1, "heads": 2, "patch_size": 2, **options}
    return ViT(2, 3, grid_shape=grid_shape, periodic=periodic, condition_features=0, **options)


def test_a_patch_that_does_not_fit_names_those_that_do():
    with pytest.raises(ConfigError, match=r"patch_size=5 does not divide the grid 8x12. Sizes that fit: 1, 2, 4\."):
        build(patch_size=5)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"backbone.dim=30 with backbone.heads=4.*Set dim=32"):
        build(dim=30, heads=4)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_periodic_angles_close_after_one_period(n):
    angles = rotary_angles((n,), (True,), 6)
    beyond = angles[0] + n * (angles[1] - angles[0] if n > 1 else 0 * angles[0])
    torch.testing.assert_close(beyond.cos(), angles[0].cos(), rtol=0, atol=1e-5)


def test_all_points_of_a_grid_have_their_own_angles():
    angles = rotary_angles((4, 6), (False, True), 8)
    turned = torch.cat([angles.cos(), angles.sin()], dim=1)
    assert (torch.cdist(turned, turned) + torch.eye(24)).min() > 0.1


def test_only_axes_with_ends_have_places():
    assert wall_features((4, 6), (True, True)).shape == (24, 0)
    assert wall_features((4, 6), (True, False)).shape == (24, 8)
    assert build(periodic=(True, True)).places is None


@pytest.mark.parametrize(
    ("grid_shape", "patch_size"),
    [((64, 64), 4), ((32, 48), 4), ((16, 24), 2), ((8, 8), 1), ((30, 60), 3), ((13, 64), 1)],
)
def test_patches_leave_some_of_them_along_each_axis(grid_shape, patch_size):
    assert fitting_patch_size(grid_shape, 4) == patch_size
    network = build(grid_shape, patch_size=None)
    assert network.head.in_features == 2 * patch_size**2
