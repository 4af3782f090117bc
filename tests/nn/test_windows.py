import pytest
import torch

from autocast.errors import ConfigError
from autocast.nn.attention import Attention, FullReach
from autocast.nn.vit import ViT
from autocast.nn.windowed_vit import WindowedViT
from autocast.nn.windows import WindowReach


def reach_of(grid_shape, periodic, *, shifted, window_size=4):
    return WindowReach(grid_shape, periodic, n_pairs=2, window_size=window_size, shifted=shifted)


@torch.no_grad()
def seen_from(reach, grid_shape, place):
    """The points whose change the point at `place` notices."""
    torch.manual_seed(0)
    attention = Attention(4, 1)
    n = torch.Size(grid_shape).numel()
    index = int(torch.arange(n).reshape(grid_shape)[place])
    x = torch.randn(1, n, 4)
    changed = x.repeat(n, 1, 1)
    changed[torch.arange(n), torch.arange(n)] += 1
    noticed = (reach(attention, changed)[:, index] - reach(attention, x)[:, index]).abs().amax(1) > 1e-6
    return noticed.reshape(grid_shape)


@pytest.mark.parametrize("wraps", [True, False])
def test_a_point_sees_its_window_and_nothing_else(wraps):
    seen = seen_from(reach_of((8, 12), (wraps, wraps), shifted=False), (8, 12), (1, 6))
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[:4, 4:8] = True
    assert torch.equal(seen, expected)


def test_shifted_windows_wrap_around_where_the_axis_does():
    reach = reach_of((8, 8), (True, False), shifted=True)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[[0, 1, 6, 7], :2] = True
    assert torch.equal(seen_from(reach, (8, 8), (0, 0)), expected)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[[0, 1, 6, 7], 6:] = True
    assert torch.equal(seen_from(reach, (8, 8), (7, 7)), expected)


def test_shifted_windows_connect_the_others():
    plain, shifted = (reach_of((8,), (True,), shifted=shifted) for shifted in (False, True))
    reached = sum(seen_from(plain, (8,), (i,)) for i in seen_from(shifted, (8,), (3,)).nonzero().flatten().tolist())
    assert bool((reached > 0).all())


@pytest.mark.parametrize(
    ("wraps", "shifted", "of_the_first", "of_the_last"),
    [
        (True, False, [0, 1, 2, 3], [8, 9]),
        (False, False, [0, 1, 2, 3], [8, 9]),
        (True, True, [0, 9], [0, 9]),
        (False, True, [0, 1], [6, 7, 8, 9]),
    ],
)
def test_windows_that_do_not_divide_an_axis_leave_a_smaller_one(wraps, shifted, of_the_first, of_the_last):
    reach = reach_of((10,), (wraps,), shifted=shifted)
    assert seen_from(reach, (10,), (0,)).nonzero().flatten().tolist() == of_the_first
    assert seen_from(reach, (10,), (9,)).nonzero().flatten().tolist() == of_the_last


@pytest.mark.parametrize("window_size", [2, 3, 4, 8])
@pytest.mark.parametrize("n", range(4, 20))
def test_no_border_lies_between_the_same_neighbours_in_all_blocks(n, window_size):
    if window_size == 2 and n % 2:
        with pytest.raises(ConfigError, match=rf"window_size=2: .* the ends of a periodic axis of {n} patches"):
            reach_of((n,), (True,), shifted=True, window_size=window_size)
        return
    reaches = [reach_of((n,), (True,), shifted=shifted, window_size=window_size) for shifted in (False, True)]
    seen = sum(torch.stack([seen_from(reach, (n,), (i,)) for i in range(n)]) for reach in reaches)
    assert all(seen[i, (i + 1) % n] for i in range(n))


@pytest.mark.parametrize("grid_shape", [(10,), (8, 9), (5, 4, 9)])
@pytest.mark.parametrize("shifted", [True, False])
def test_join_is_the_inverse_of_split(grid_shape, shifted):
    reach = reach_of(grid_shape, (True,) * len(grid_shape), shifted=shifted)
    x = torch.randn(3, torch.Size(grid_shape).numel(), 4)
    torch.testing.assert_close(reach.join(reach.split(x), 3), x, rtol=0, atol=0)


@torch.no_grad()
def test_one_window_is_full_attention():
    grid_shape, periodic = (4, 6), (True, False)
    full = FullReach(grid_shape, periodic, n_pairs=2)
    window = reach_of(grid_shape, periodic, shifted=True, window_size=6)
    attention, x = Attention(8, 2), torch.randn(2, 24, 8)
    torch.testing.assert_close(window(attention, x), full(attention, x))


@torch.no_grad()
def test_a_network_of_one_window_is_the_vit():
    sizes = {"dim": 16, "depth": 2, "heads": 2, "patch_size": 2}
    place = {"grid_shape": (8, 12), "periodic": (True, False), "condition_features": 3}
    vit, windowed = ViT(2, 3, **place, **sizes), WindowedViT(2, 3, **place, **sizes, window_size=6)
    windowed.load_state_dict(vit.state_dict())
    x, condition = torch.randn(2, 2, 8, 12), torch.randn(2, 3)
    torch.testing.assert_close(windowed(x, condition), vit(x, condition))


@torch.no_grad()
@pytest.mark.parametrize("grid_shape", [(16,), (8, 16), (4, 8, 8)])
def test_the_network_commutes_with_shifts_by_windows(grid_shape):
    n_axes = len(grid_shape)
    network = WindowedViT(
        2, 3, grid_shape=grid_shape, periodic=(True,) * n_axes, condition_features=0,
        dim=8, depth=2, heads=1, patch_size=1, window_size=4,
    ).double()  # fmt: skip
    x, nothing = torch.randn(1, 2, *grid_shape).double(), torch.empty(1, 0)
    y = network(x, nothing)
    torch.testing.assert_close(network(x.roll(4, 1 + n_axes), nothing), y.roll(4, 1 + n_axes))
    assert not torch.allclose(network(x.roll(1, 1 + n_axes), nothing), y.roll(1, 1 + n_axes))


def test_windows_of_one_patch_and_a_single_block_are_refused():
    place = {"grid_shape": (8, 8), "periodic": (True, True), "condition_features": 0, "patch_size": 1}
    with pytest.raises(ConfigError, match=r"backbone.window_size=1: a window holds at least 2"):
        WindowedViT(2, 3, **place, window_size=1)
    with pytest.raises(ConfigError, match=r"backbone.depth=1: windows of 4 patches on 8x8 patches need a second block"):
        WindowedViT(2, 3, **place, depth=1, window_size=4)
