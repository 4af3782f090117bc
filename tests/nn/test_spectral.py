import pytest
import torch
import torch.nn.functional as F

from autocast.nn.spectral import SpectralConvolution

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def low_modes(spectrum, modes):
    """Modes up to `modes` in the order of the weights: all signs along all axes but the last."""
    for axis in range(2, spectrum.ndim - 1):
        n = spectrum.shape[axis]
        spectrum = spectrum.index_select(axis, torch.arange(-modes, modes + 1) % n)
        spectrum = spectrum.roll(-modes, axis)
    return spectrum.narrow(-1, 0, modes + 1)


@torch.no_grad()
@pytest.mark.parametrize("grid_shape", [(9,), (8,), (8, 9), (6, 5, 8)])
def test_it_is_a_circular_convolution_with_a_band_limited_kernel(grid_shape):
    modes, n_axes = 2, len(grid_shape)
    spatial = tuple(range(2, 2 + n_axes))
    kernel = torch.randn(3, 2, *grid_shape, dtype=torch.float64)
    wavenumbers = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n) for n in grid_shape), indexing="ij")
    kept = torch.stack([k.abs() <= modes for k in wavenumbers]).all(0)
    kernel = torch.fft.ifftn(torch.fft.fftn(kernel, dim=spatial) * kept, dim=spatial).real

    layer = SpectralConvolution(2, 3, grid_shape=grid_shape, periodic=(True,) * n_axes, modes=modes).double()
    spectrum = low_modes(torch.fft.rfftn(kernel, dim=spatial), modes)
    layer.weight.copy_(torch.view_as_real(spectrum.flatten(2).permute(2, 1, 0)))

    x = torch.randn(4, 2, *grid_shape, dtype=torch.float64)
    before = [number for n in reversed(grid_shape) for number in (n - 1, 0)]
    wrapped = F.pad(x, before, mode="circular")
    expected = CONVOLUTIONS[n_axes](wrapped, kernel.flip(spatial))
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
@pytest.mark.parametrize("k", [(1, 2), (-1, 2), (2, -1), (0, 1), (-2, 0)])
def test_low_waves_of_every_direction_pass_and_high_ones_do_not(k):
    layer = SpectralConvolution(1, 1, grid_shape=(12, 10), periodic=(True, True), modes=2)
    rows, columns = torch.meshgrid(torch.arange(12) / 12, torch.arange(10) / 10, indexing="ij")

    def wave(a, b):
        return torch.cos(2 * torch.pi * (a * rows + b * columns))[None, None]

    assert layer(wave(*k)).abs().max() > 0.05
    assert layer(wave(k[0], 3)).abs().max() < 1e-5
    assert layer(wave(4, k[1])).abs().max() < 1e-5


@torch.no_grad()
def test_an_axis_with_ends_does_not_wrap_around():
    """A point at one end is felt far less at the other end than where it is; on a circle the ends are neighbours."""
    x = torch.zeros(1, 1, 64)
    x[..., 0] = 1
    felt = {}
    for wraps in (True, False):
        layer = SpectralConvolution(1, 1, grid_shape=(64,), periodic=(wraps,), modes=8)
        layer.weight[..., 0], layer.weight[..., 1] = 1.0, 0.0  # the same smooth bump everywhere
        y = layer(x)[0, 0].abs()
        felt[wraps] = float(y[-2:].max() / y[0])
    assert felt[True] > 0.8
    assert felt[False] < 0.25


def test_modes_that_the_grid_does_not_resolve_are_left_out():
    layer = SpectralConvolution(2, 3, grid_shape=(4, 7), periodic=(True, True), modes=16)
    assert layer.weight.shape == ((2 * 1 + 1) * (3 + 1), 2, 3, 2)


def test_half_precision_is_computed_in_single_precision():
    layer = SpectralConvolution(2, 3, grid_shape=(6,), periodic=(False,), modes=2)
    x = torch.randn(2, 2, 6)
    exact = layer(x)
    rounded = layer.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
