import numpy as np
import pytest

from autocast.simulators.random_fields import clustered_gaussians, coarsen, gaussian_field, trigonometric_interpolant


@pytest.mark.parametrize("grid_shape", [(16,), (16, 24), (16, 12, 20)])
def test_gaussian_fields_do_not_depend_on_the_grid(grid_shape):
    coarse, fine = (gaussian_field(np.random.default_rng(5), [f * n for n in grid_shape], 3) for f in (1, 2))
    np.testing.assert_allclose(coarse, coarsen(fine, 2), atol=1e-12)


def test_gaussian_fields_have_unit_variance_and_no_mode_above_the_cutoff():
    rng = np.random.default_rng(0)
    fields = np.stack([gaussian_field(rng, (12, 16), 3) for _ in range(400)])
    assert fields.var() == pytest.approx(1, abs=0.1)
    assert abs(fields.mean()) < 1e-12
    amplitudes = np.abs(np.fft.fft2(fields)).max(axis=0)
    assert amplitudes[4:9].max() < 1e-9
    assert amplitudes[:, 4:13].max() < 1e-9
    assert amplitudes[3, 0] > 1


@pytest.mark.parametrize("points", [(8, 8), (7, 6)])
def test_interpolant_goes_through_its_values(points):
    values = np.random.default_rng(0).standard_normal(points)
    fine = trigonometric_interpolant(values, [4 * n for n in points])
    np.testing.assert_allclose(coarsen(fine, 4), values, atol=1e-12)


def test_interpolant_of_a_resolved_wave_is_the_wave():
    x = np.arange(8) / 8
    fine = np.arange(20) / 20
    wave = trigonometric_interpolant(np.sin(2 * np.pi * 3 * x)[:, None] * np.ones(8), (20, 12))
    np.testing.assert_allclose(wave, np.sin(2 * np.pi * 3 * fine)[:, None] * np.ones(12), atol=1e-12)


def test_clustered_gaussians_are_periodic_sums_of_their_parts():
    bounds = {"count": (1, 1), "amplitude": (2.0, 2.0), "width": (150.0, 150.0)}
    field = clustered_gaussians(np.random.default_rng(1), (64, 96), (1.0, 1.5), **bounds)
    peak = np.unravel_index(field.argmax(), field.shape)
    assert field.max() == pytest.approx(2, abs=0.05)
    centred = np.roll(field, (32 - peak[0], 48 - peak[1]), axis=(0, 1))
    x, y = (np.arange(64) - 32) / 64, 1.5 * (np.arange(96) - 48) / 96
    gaussian = 2 * np.exp(-150 * (x[:, None] ** 2 + y**2))
    assert np.abs(centred - gaussian).max() < 0.35  # the centre is up to half a point away
    assert field.sum() / (64 * 96) * 1.5 == pytest.approx(2 * np.pi / 150, rel=1e-6)
