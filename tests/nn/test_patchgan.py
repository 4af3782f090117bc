"""The discriminator of patches."""

import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.patchgan import NORMS, PatchDiscriminator, n_patches


def discriminator(grid_shape, *, wraps=False, **options):
    options = {"base_channels": 4, **options}
    return PatchDiscriminator(3, grid_shape=grid_shape, periodic=(wraps,) * len(grid_shape), **options)


@pytest.mark.parametrize(("n_layers", "seen"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_one_output_sees_a_patch(n_layers, seen):
    assert discriminator((512,), n_layers=n_layers).receptive_field == seen


@pytest.mark.parametrize(("n_layers", "seen"), [(1, 16), (2, 34), (3, 70)])
@pytest.mark.parametrize("wraps", [False, True])
def test_the_gradient_of_one_output_has_that_support(n_layers, seen, wraps):
    """Without norms, which look at the whole picture."""
    x = torch.randn(1, 3, 160, 96, requires_grad=True)
    judged = discriminator((160, 96), n_layers=n_layers, norm="none", wraps=wraps)(x)
    middle = judged[0, 0, judged.shape[2] // 2, judged.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, x)
    support = gradient[0].abs().sum(0) > 0
    assert (int(support.any(1).sum()), int(support.any(0).sum())) == (seen, seen)


@pytest.mark.parametrize(("points", "patches"), [(256, 30), (128, 14), (64, 6), (32, 2), (24, 1)])
def test_patches_of_three_layers(points, patches):
    assert n_patches(points, 3) == patches
    if points < 128:
        assert discriminator((points, points))(torch.zeros(1, 3, points, points)).shape == (1, 1, patches, patches)


def test_a_grid_without_a_patch_is_refused():
    with pytest.raises(ConfigError, match=r"the discriminator: n_layers=3.*16 × 40.*fewer"):
        discriminator((16, 40))


@pytest.mark.parametrize(("grid_shape", "n_layers"), [((8, 8), 3), ((9, 11), 3), ((8,), 3), ((4, 4), 2)])
def test_a_norm_has_more_than_a_point_to_look_at(grid_shape, n_layers):
    with pytest.raises(ConfigError, match=r"single point.*fewer layers, or norm=group"):
        discriminator(grid_shape, n_layers=n_layers, wraps=True)
    made = discriminator(grid_shape, n_layers=n_layers, wraps=True, norm="group").train()
    assert made(torch.randn(1, 3, *grid_shape)).shape[:2] == (1, 1)
    fewer = discriminator(grid_shape, n_layers=n_layers - 1, wraps=True).train()
    assert fewer(torch.randn(1, 3, *grid_shape)).isfinite().all()


def test_the_number_of_parameters_is_the_published_one():
    made = PatchDiscriminator(3, grid_shape=(256, 256), periodic=(False, False))
    assert sum(parameter.numel() for parameter in made.parameters()) == 2_764_737


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_one_to_three_axes(norm, n_dims):
    made = discriminator((16,) * n_dims, n_layers=1, norm=norm)
    assert made(torch.randn(2, 3, *(16,) * n_dims)).shape == (2, 1, *(6,) * n_dims)


def test_periodic_axes_have_no_edge():
    made = discriminator((32,), n_layers=2, norm="none", wraps=True)
    x = torch.randn(1, 3, 32)
    assert made(x).shape == (1, 1, n_patches(32, 2, wraps=True)) == (1, 1, 8)
    assert torch.allclose(made(x.roll(12, -1)), made(x).roll(3, -1), atol=1e-6)
