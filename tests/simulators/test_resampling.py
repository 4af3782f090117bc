"""Fields on a coarser grid and back: exact for what both grids resolve, along periodic axes and others."""

import math

import pytest
import torch

from autocast.simulators.resampling import coarsen, refine


def waves(nx, ny):
    """`(1, nx, ny, 2)`: modes up to 2 along x and 3 along y."""
    x = 2 * math.pi * torch.arange(nx, dtype=torch.float64)[:, None] / nx
    y = 2 * math.pi * torch.arange(ny, dtype=torch.float64) / ny
    return torch.stack([torch.sin(2 * x + 1) * torch.cos(3 * y), 4 + torch.cos(x - y)], dim=-1)[None]


def test_what_both_grids_resolve_survives_both_ways():
    fine, coarse = waves(24, 32), waves(6, 8)
    torch.testing.assert_close(coarsen(fine, (6, 8), (True, True)), coarse)
    torch.testing.assert_close(refine(coarse, (24, 32), (True, True)), fine)


def test_what_the_coarser_grid_does_not_resolve_is_left_out_and_not_aliased():
    x = 2 * math.pi * torch.arange(24, dtype=torch.float64) / 24
    fine = (torch.cos(7 * x) + torch.cos(4 * x) + 1)[None, :, None]
    torch.testing.assert_close(coarsen(fine, (8,), (True,)), torch.ones(1, 8, 1, dtype=torch.float64))


@pytest.mark.parametrize("periodic", [True, False])
def test_a_mean_is_kept_and_leading_axes_are_free(periodic):
    fields = torch.rand(2, 3, 16, 24, 2, generator=torch.Generator().manual_seed(0))
    coarse = coarsen(fields, (4, 12), (periodic, periodic))
    assert coarse.shape == (2, 3, 4, 12, 2)
    torch.testing.assert_close(coarse.mean((2, 3)), fields.mean((2, 3)))
    assert refine(coarse, (16, 24), (periodic, periodic)).shape == fields.shape


def test_between_walls_cells_are_averaged_and_lines_drawn_between_their_centres():
    fine = torch.arange(12, dtype=torch.float64)[None, :, None]
    coarse = coarsen(fine, (3,), (False,))
    assert coarse.flatten().tolist() == [1.5, 5.5, 9.5]
    inside = refine(coarse, (12,), (False,)).flatten()[2:-2]
    torch.testing.assert_close(inside, fine.flatten()[2:-2])
