"""The bottleneck of a variational autoencoder."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from autocast.autoencoders.gaussian import LOGVAR_RANGE, DiagonalGaussian, GaussianBottleneck
from autocast.generative.noise import Noise


def test_the_penalty_is_the_divergence():
    mean, logvar = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(DiagonalGaussian(mean, logvar).penalty(), expected)


def test_samples_have_the_moments():
    mean, logvar = torch.full((64, 1, 40, 2), 3.0), torch.full((64, 1, 40, 2), 2 * math.log(0.5))
    z = DiagonalGaussian(mean, logvar).sample(Noise([(0, row) for row in range(64)]))
    assert float(z.mean()) == pytest.approx(3, abs=0.03)
    assert float(z.std()) == pytest.approx(0.5, rel=0.05)


def test_it_starts_near_an_autoencoder_without_noise():
    z = torch.randn(2, 1, 4, 6, 5)
    posterior = GaussianBottleneck(5).posterior(z)
    torch.testing.assert_close(posterior.mode, z)
    torch.testing.assert_close(posterior.logvar, torch.full_like(z, -4.0))


def test_variances_stay_numbers():
    posterior = DiagonalGaussian(torch.zeros(1, 1, 2, 1), torch.tensor([-1e4, 1e4]).view(1, 1, 2, 1))
    assert posterior.logvar.flatten().tolist() == list(LOGVAR_RANGE)
    assert torch.isfinite(posterior.penalty()).all()


def test_units_that_do_not_vary_are_not_active():
    mean = torch.randn(16, 1, 4, 4, 3) * torch.tensor([1.0, 0.2, 0.01])
    assert float(DiagonalGaussian(mean, torch.zeros_like(mean)).usage()["active_units"]) == 2
    fixed = mean[:1].expand(16, -1, -1, -1, -1)  # differs from point to point, and not from frame to frame
    assert float(DiagonalGaussian(fixed, torch.zeros_like(fixed)).usage()["active_units"]) == 0


def test_a_single_frame_does_not_tell_what_varies_from_frame_to_frame():
    mean = torch.randn(1, 1, 4, 4, 3)
    assert DiagonalGaussian(mean, torch.zeros_like(mean)).usage()["active_units"].isnan()


def test_half_precision_is_summed_in_full():
    bottleneck = GaussianBottleneck(4)
    with torch.autocast("cpu", torch.bfloat16):
        posterior = bottleneck.posterior(torch.randn(2, 1, 8, 4))
    assert posterior.mean.dtype == posterior.logvar.dtype == torch.float32
