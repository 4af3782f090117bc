import math

import pytest
import torch

from autocast.metrics.catalogue import BANDS
from autocast.metrics.spectral import (
    Grid,
    band_shells,
    coherence,
    fine_energy,
    fine_energy_ratio,
    isotropic_cross_power,
    isotropic_power,
    spectral_rmse,
)

GRIDS = [Grid((16,), (2.0,)), Grid((8, 12), (1.0, 1.5)), Grid((8, 6, 10), (1.0, 1.0, 1.0))]


@pytest.mark.parametrize("grid", GRIDS)
def test_white_noise_has_the_same_power_in_every_shell(grid):
    x = torch.randn(4000, 2, *grid.shape, 3)
    power = isotropic_power(x, grid)
    assert power.shape == (4000, 2, grid.n_shells, 3)
    torch.testing.assert_close(power.mean((0, 1, 3)), torch.ones(grid.n_shells).double(), rtol=0.05, atol=0)


def test_a_wave_has_its_power_in_the_shell_of_its_wavenumber():
    grid = Grid((16, 24), (2.0, 3.0))
    x = torch.arange(24) / 24
    field = torch.cos(2 * math.pi * 6 * x).expand(16, 24).unsqueeze(-1)
    power = isotropic_power(field, grid)[:, 0]
    assert grid.wavenumbers[power.argmax()] == pytest.approx(6 / 3.0)
    assert power.sort().values[-2] < 1e-6 * power.max()


def test_power_does_not_depend_on_direction_or_position():
    grid = Grid((12, 12), (1.0, 1.0))
    x = torch.randn(3, 12, 12, 2, dtype=torch.float64)
    torch.testing.assert_close(isotropic_power(x.transpose(1, 2), grid), isotropic_power(x, grid))
    torch.testing.assert_close(isotropic_power(x.roll((3, 5), (1, 2)), grid), isotropic_power(x, grid))


@pytest.mark.parametrize("n_shells", range(1, 70))
def test_bands_share_the_shells_out(n_shells):
    bands = band_shells(n_shells)
    shells = [i for band in bands.values() for i in range(n_shells)[band]]
    assert shells == list(range(n_shells))
    assert list(bands) == list(BANDS)[: min(n_shells, 4)]


def test_spectral_error_of_a_scaled_field_is_known():
    grid = Grid((16, 16), (1.0, 1.0))
    x = torch.randn(2, 3, 16, 16, 2)
    errors = spectral_rmse(isotropic_power(x, grid), isotropic_power(1.1 * x, grid))
    assert list(errors) == list(BANDS)
    for error in errors.values():
        torch.testing.assert_close(error, torch.full((2, 3, 2), 0.21).double(), rtol=1e-4, atol=0)


def test_spectral_error_finds_the_band_that_was_smoothed_away():
    grid = Grid((32, 32), (1.0, 1.0))
    x = torch.randn(1, 32, 32, 1)
    modes = torch.fft.rfft2(x, dim=(1, 2))
    k = (torch.fft.fftfreq(32)[:, None] ** 2 + torch.fft.rfftfreq(32)[None] ** 2).sqrt() * 32
    smooth = torch.fft.irfft2(modes * (k < 8.5)[..., None], dim=(1, 2))
    errors = spectral_rmse(isotropic_power(x, grid), isotropic_power(smooth, grid))
    assert errors["tail"].item() == pytest.approx(1.0, abs=0.1)
    assert max(errors[band].item() for band in ("low", "mid", "high")) < 1e-4


def test_shells_that_a_simulator_left_empty_are_not_compared():
    grid = Grid((16,), (1.0,))
    power = torch.ones(grid.n_shells, 1, dtype=torch.float64)
    power[-2:] = 1e-17
    forecast = power.clone()
    forecast[-2:] = 1e-6
    errors = spectral_rmse(power, forecast)
    assert all(error == 0 for error in errors.values() if not error.isnan())
    assert errors["low"] == 0


SQUARE = Grid((64, 64), (1.0, 1.0))


def coherences(x, y, grid=SQUARE):
    return coherence(isotropic_power(y, grid), isotropic_power(x, grid), isotropic_cross_power(x, y, grid))


def rough(seed, n=3, slope=1.5):
    """`(n, 64, 64, 1)` random fields with power at all scales."""
    noise = torch.randn(n, 64, 64, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    k = (torch.fft.fftfreq(64)[:, None] ** 2 + torch.fft.rfftfreq(64)[None] ** 2).sqrt() * 64
    modes = torch.fft.rfft2(noise, dim=(1, 2)) * k.clamp(min=1)[..., None] ** -slope
    return torch.fft.irfft2(modes, s=(64, 64), dim=(1, 2))


def scrambled(x):
    """The same power in every mode, with the phases of noise."""
    phases = torch.fft.rfft2(torch.randn(x.shape, generator=torch.Generator().manual_seed(9)).double(), dim=(1, 2))
    return torch.fft.irfft2(torch.fft.rfft2(x, dim=(1, 2)).abs() * phases / phases.abs(), s=(64, 64), dim=(1, 2))


def test_coherence_of_a_scaled_field_is_one():
    y = rough(0)
    for factor in (1.0, 0.3, -2.0):
        for value in coherences(factor * y, y).values():
            torch.testing.assert_close(value, torch.ones(3, 1).double())


@pytest.mark.parametrize("spoil", [lambda y: rough(1), scrambled, lambda y: y.roll((17, 11), (1, 2))])
def test_fields_with_other_phases_are_not_coherent(spoil):
    """Independent, phase-scrambled and shifted fields; a modulus before the sum would score pi / 4, 1 and 1."""
    y = rough(0)
    x = spoil(y)
    found = {band: value.mean().item() for band, value in coherences(x, y).items()}
    assert found["low"] < 0.5
    assert found["mid"] < 0.3
    assert found["high"] < 0.2
    assert found["tail"] < 0.1


def test_coherence_falls_with_the_share_of_noise():
    """Of y + s n it is 1 / sqrt(1 + s²) in every shell, n with the spectrum of y and independent of it."""
    y, noise = rough(0, n=20), rough(1, n=20)
    for s in (0.5, 2.0):
        found = coherences(y + s * noise, y)
        for band in ("high", "tail"):
            assert found[band].mean().item() == pytest.approx(1 / math.sqrt(1 + s**2), abs=0.03)


def test_coherence_of_a_constant_forecast_is_zero_and_of_a_broken_one_undefined():
    y = rough(0)
    assert all((value == 0).all() for value in coherences(torch.ones_like(y), y).values())
    assert all(value.isnan().all() for value in coherences(torch.full_like(y, torch.nan), y).values())


@pytest.mark.parametrize("grid", GRIDS)
def test_cross_power_of_a_field_with_itself_is_its_power(grid):
    x = torch.randn(2, 3, *grid.shape, 2, dtype=torch.float64)
    torch.testing.assert_close(isotropic_cross_power(x, x, grid), isotropic_power(x, grid))


@pytest.mark.parametrize("grid", GRIDS)
def test_fine_energy_is_the_mean_square_of_short_waves(grid):
    axis = torch.arange(grid.shape[-1], dtype=torch.float64)
    field = torch.stack([3 * torch.cos(math.pi * axis), 5 * torch.cos(math.pi / 4 * axis)], dim=-1)
    if grid.shape[-1] % 8:  # a wave of eight points needs a whole number of them
        field[..., 1] = 5 * torch.cos(2 * math.pi * axis / grid.shape[-1])
    energy = fine_energy(field.expand(2, *grid.shape, 2), grid)
    torch.testing.assert_close(energy, torch.tensor([[9.0, 0.0], [9.0, 0.0]]).double())


def test_half_the_amplitude_of_short_waves_is_a_quarter_of_their_energy():
    grid = Grid((16, 16), (1.0, 1.0))
    truth = torch.randn(16, 16, 1, dtype=torch.float64)
    coarse = torch.fft.rfft2(truth, dim=(0, 1))
    k = torch.hypot(torch.fft.fftfreq(16)[:, None], torch.fft.rfftfreq(16)[None])
    coarse[k > 0.25] *= 0.5
    blurred = torch.fft.irfft2(coarse, dim=(0, 1), s=(16, 16))
    energies = [fine_energy(field, grid) for field in (blurred, truth)]
    torch.testing.assert_close(energies[0] / energies[1], torch.full((1,), 0.25).double())
    assert 0.25 < float(fine_energy_ratio(*energies, truth.var())) < 0.251


def test_fields_without_fine_structure_are_not_called_blurred_or_rough():
    grid = Grid((32,), (1.0,))
    truth = torch.cos(2 * math.pi * torch.arange(32) / 32).unsqueeze(-1)
    noisy = truth + 1e-3 * torch.randn(32, 1)
    ratio = fine_energy_ratio(fine_energy(noisy, grid), fine_energy(truth, grid), truth.var())
    assert 1 <= float(ratio) < 1.05
