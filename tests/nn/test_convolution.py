import pytest
import torch
import torch.nn.functional as F

from autocast.nn.convolution import Convolution, Doubling, Halving, channels_last, resize, wrap


def test_wrap_continues_the_periodic_axes():
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(wrap(x, (2, 3), 2), F.pad(x, (2, 2, 2, 2), mode="circular"))
    torch.testing.assert_close(wrap(x, (3,), 1), F.pad(x, (1, 1, 0, 0), mode="circular"))


def test_wrap_of_an_axis_with_one_point_repeats_it():
    torch.testing.assert_close(wrap(torch.tensor([[[3.0]]]), (2,), 1), torch.full((1, 1, 3), 3.0))


@pytest.mark.parametrize(("n", "width"), [(1, 3), (2, 3), (2, 5)])
def test_wrap_goes_around_several_times(n, width):
    x = torch.randn(1, 1, 4, n)
    expected = torch.cat([x] * (2 * width + 1), dim=3)[..., (n - width) % n :][..., : n + 2 * width]
    torch.testing.assert_close(wrap(x, (3,), width), expected)


@pytest.mark.parametrize("grid_shape", [(5,), (4, 3), (2, 3, 1)])
def test_wrap_has_the_derivative_of_what_it_does(grid_shape):
    x = torch.randn(1, 2, *grid_shape, dtype=torch.float64, requires_grad=True)
    axes = tuple(range(2, 2 + len(grid_shape)))
    assert torch.autograd.gradcheck(lambda x: wrap(x, axes, 1), (x,))


@pytest.mark.parametrize("periodic", [(True,), (True, False), (False, False), (False, True, True)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_the_grid_stays_and_periodic_axes_are_equivariant(periodic, kernel_size):
    grid_shape = (8, 12, 6)[: len(periodic)]
    convolution = Convolution(2, 3, kernel_size, periodic=periodic)
    x = torch.randn(2, 2, *grid_shape)
    assert convolution(x).shape == (2, 3, *grid_shape)
    for axis, wraps in enumerate(periodic, start=2):
        shifted, expected = convolution(x.roll(1, axis)), convolution(x).roll(1, axis)
        assert torch.allclose(shifted, expected, atol=1e-5) == (wraps or kernel_size == 1)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_stride_rounds_up(n):
    convolution = Convolution(1, 1, periodic=(True, False), stride=2)
    assert convolution(torch.randn(1, 1, n, 7)).shape == (1, 1, (n + 1) // 2, 4)


def test_channels_last_tensors_stay_so():
    x = channels_last(torch.randn(2, 4, 8, 12))
    y = Convolution(4, 6, periodic=(True, True))(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert wrap(x, (2, 3), 1).is_contiguous(memory_format=torch.channels_last)
    assert channels_last(x).data_ptr() == x.data_ptr()


def test_a_gain_scales_the_output():
    convolution = Convolution(2, 3, periodic=(True,), gain=1e-6)
    assert convolution(torch.randn(2, 2, 8)).abs().max() < 1e-4


def test_resize_repeats_where_it_can():
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(resize(x, (8, 12)), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert resize(x, (7, 11)).shape == (2, 3, 7, 11)


@pytest.mark.parametrize(("n", "wraps"), [(8, True), (7, True), (7, False), (1, True)])
def test_halving_and_doubling_keep_the_grid(n, wraps):
    down, up = Halving(2, 4, periodic=(wraps, True)), Doubling(4, 2, n_axes=2)
    x = torch.randn(3, 2, n, 6)
    coarse = down(x)
    assert coarse.shape == (3, 4, (n + 1) // 2, 3)
    assert up(coarse, (n, 6)).shape == x.shape


def test_an_odd_axis_is_halved_with_its_first_point_or_nothing():
    x = torch.tensor([[[3.0, 5.0, 7.0]]])
    for wraps, last in ((True, 10.0), (False, 7.0)):
        down = Halving(1, 1, periodic=(wraps,))
        torch.nn.init.ones_(down.convolution.weight)
        torch.nn.init.zeros_(down.convolution.bias)
        assert down(x).tolist() == [[[8.0, last]]]


def test_groups_keep_channels_apart():
    depthwise = Convolution(4, 4, 3, periodic=(True,), groups=4)
    x = torch.randn(1, 4, 8)
    other = x.clone()
    other[:, 0] += 1
    changed = (depthwise(x) != depthwise(other)).any(2)[0]
    assert changed.tolist() == [True, False, False, False]
