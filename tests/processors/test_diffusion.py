import math
from itertools import product

import pytest
import torch

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.parametrisations import Edm, NoisePrediction
from autocast.generative.priors import LogNormal, TimePrior, Uniform
from autocast.generative.samplers import DDIM, AdamsBashforth2, AdamsBashforth3, Euler, Heun
from autocast.generative.schedules import Cosine, LogLogit, VariancePreserving
from autocast.generative.schedules import Edm as EdmSchedule
from autocast.nn.backbone import Backbone
from autocast.processors.diffusion import Diffusion
from autocast.types import Condition, EncodedSpec

SPEC = EncodedSpec(2, 3, 4, (8, 12), (True, True))
N_TARGETS = 8
MEAN, STD = 0.7, 0.3
SCHEDULES = {
    "edm": EdmSchedule(),
    "vp": VariancePreserving(),
    "cosine": Cosine(),
    "rectified": LogLogit(),
}
SAMPLERS = [Euler(64), DDIM(64), Heun(24), AdamsBashforth2(48), AdamsBashforth3(32), DDIM(128, eta=1.0)]


class Expectation(Backbone):
    """The best possible answer if targets are normal numbers, and keeps what it was asked."""

    def __init__(self, parametrisation, std=STD):
        super().__init__()
        self.parametrisation = parametrisation
        self.std = std
        self.asked = []
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, condition):
        sigma = (4 * torch.atan2(condition[:, condition.shape[1] // 2], condition[:, 0])).exp()
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        self.asked.append((sigma, x))
        y = x[:, :N_TARGETS] / self.parametrisation.scale(level)
        x_hat = (self.std**2 * y + level**2 * MEAN) / (self.std**2 + level**2)
        return self.parametrisation.target(x_hat, (y - x_hat) / level, level) + self.weight


class AtTheEnd(TimePrior):
    def __call__(self, noise, like):
        return torch.ones(len(like))


def diffusion(sampler=None, schedule=None, parametrisation=None, std=STD, **options):
    parametrisation = parametrisation or Edm()
    return Diffusion(
        SPEC,
        backbone=lambda *args, **kwargs: Expectation(parametrisation, std),
        sampler=sampler or Euler(4),
        schedule=schedule or EdmSchedule(),
        parametrisation=parametrisation,
        **{"increment": False, **options},
    )


def noise_of(n_rows):
    return Noise([(0, row) for row in range(n_rows)])


def past(n_rows):
    return torch.randn(n_rows, 3, 8, 12, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("sampler", "parametrisation"), [*product(SAMPLERS, [Edm(), Edm(0.4), NoisePrediction()])])
@torch.no_grad()
def test_a_perfect_denoiser_draws_from_the_distribution(schedule, sampler, parametrisation):
    forecast = diffusion(sampler, schedule, parametrisation).sample(past(4), Condition(), noise_of(4))
    assert forecast.shape == (4, 4, 8, 12, 2)
    assert float(forecast.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(forecast.std()) == pytest.approx(STD, abs=0.025)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", [Euler(1), DDIM(1), DDIM(3, eta=1.0), Heun(2), AdamsBashforth2(3)])
@torch.no_grad()
def test_a_single_future_is_forecast_exactly(schedule, sampler):
    forecast = diffusion(sampler, schedule, std=0.0).sample(past(2), Condition(), noise_of(2))
    torch.testing.assert_close(forecast, torch.full_like(forecast, MEAN), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("sampler", "n_calls"),
    [(Euler(4), 4), (DDIM(4), 4), (Heun(4), 8), (AdamsBashforth2(4), 5), (AdamsBashforth3(4), 6)],
)
@torch.no_grad()
def test_network_calls_are_as_documented(sampler, n_calls):
    processor = diffusion(sampler)
    processor.sample(past(2), Condition(), noise_of(2))
    assert len(processor.backbone.asked) == n_calls


@torch.no_grad()
def test_sampling_goes_through_the_levels_of_the_schedule():
    schedule = EdmSchedule(0.01, 30.0)
    processor = diffusion(Euler(4), schedule)
    processor.sample(past(2), Condition(), noise_of(2))
    levels = torch.stack([sigma[0] for sigma, _ in processor.backbone.asked])
    torch.testing.assert_close(levels, schedule.sigma(torch.arange(4) / 4), rtol=1e-4, atol=0)


@torch.no_grad()
def test_training_sees_unit_variance_at_levels_of_the_prior():
    processor = diffusion(time_prior=LogNormal(-1.0, 0.5), condition_noise=0.0)
    x = past(500)
    processor.loss(x, torch.randn(500, 4, 8, 12, 2), Condition(), noise_of(500))
    ((sigma, seen),) = processor.backbone.asked
    assert float(sigma.log().mean()) == pytest.approx(-1.0, abs=0.1)
    assert float(sigma.log().std()) == pytest.approx(0.5, abs=0.05)
    assert float(seen[:, :N_TARGETS].std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(seen[:, N_TARGETS:].unflatten(1, (3, 2)).movedim(2, -1), x)


@pytest.mark.parametrize("prior", [None, Uniform(), LogNormal(0.0, 30.0)])
@torch.no_grad()
def test_training_stays_between_the_ends_of_the_schedule(prior):
    processor = diffusion(schedule=EdmSchedule(0.01, 30.0), time_prior=prior)
    assert processor.loss(past(200), torch.randn(200, 4, 8, 12, 2), Condition(), noise_of(200)).isfinite()
    ((sigma, _),) = processor.backbone.asked
    assert 0.0099 < sigma.min() < 0.1
    assert 3 < sigma.max() < 30.1


def test_the_loss_is_least_for_a_perfect_denoiser():
    """Its gradient with respect to an offset of all answers has mean 0."""
    processor = diffusion(time_prior=LogNormal())
    y = MEAN + STD * torch.randn(500, 4, 8, 12, 2, generator=torch.Generator().manual_seed(1))
    processor.loss(past(500), y, Condition(), noise_of(500)).backward()
    assert abs(float(processor.backbone.weight.grad)) < 0.01


@torch.no_grad()
def test_the_past_can_have_as_much_noise_as_the_target():
    processor = diffusion(noised_conditioning=True, condition_noise=0.0, schedule=Cosine())
    x = past(300)
    processor.loss(x, torch.randn(300, 4, 8, 12, 2), Condition(), noise_of(300))
    ((sigma, seen),) = processor.backbone.asked
    level = sigma.reshape(-1, 1, 1, 1, 1)
    images = seen[:, N_TARGETS:].unflatten(1, (3, 2)).movedim(2, -1)
    eps = (images * (1 + level**2).sqrt() - x) / level
    assert float(images.std()) == pytest.approx(1, abs=0.02)
    assert float(eps.std()) == pytest.approx(1, abs=0.02)
    target = seen[:, :N_TARGETS].flatten(1)[:, : eps[0].numel()]
    assert abs(float(torch.corrcoef(torch.stack([target.flatten(), images.flatten(1).flatten()]))[0, 1])) < 0.02


@torch.no_grad()
def test_one_draw_of_noise_on_the_past_serves_a_whole_forecast():
    processor = diffusion(Heun(3), Cosine(), noised_conditioning=True)
    x = past(2)
    processor.sample(x, Condition(), noise_of(2))
    draws = []
    for sigma, seen in processor.backbone.asked:
        level = sigma.reshape(-1, 1, 1, 1, 1)
        images = seen[:, N_TARGETS:].unflatten(1, (3, 2)).movedim(2, -1)
        draws.append((images * (1 + level**2).sqrt() - x) / level)
    for eps in draws[1:-1]:
        torch.testing.assert_close(eps, draws[0], rtol=1e-3, atol=1e-3)
    assert float(draws[0].std()) == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_an_increment_is_drawn_in_units_of_its_scale():
    processor = diffusion(std=0.0)
    processor.increment = True
    processor.set_increment_scale(torch.tensor([2.0, 5.0]))
    x = past(2)
    expected = (x[:, -1:] + MEAN * torch.tensor([2.0, 5.0])).expand(-1, 4, -1, -1, -1)
    torch.testing.assert_close(processor.sample(x, Condition(), noise_of(2)), expected, rtol=0, atol=0.02)


def test_the_network_is_told_of_levels_without_ambiguity():
    """`ln(sigma) / 4` within half a turn of the slowest angle."""
    for schedule in SCHEDULES.values():
        assert (schedule.sigma(torch.tensor([0.0, 1.0])).log() / 4).abs().max() < math.pi


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"processor.time_features=3: must be even"):
        diffusion(time_features=3)
    with pytest.raises(ConfigError, match=r"noised_conditioning=true: .* Set processor.increment=false"):
        diffusion(noised_conditioning=True, increment=True)


@torch.no_grad()
def test_an_increment_in_training_leads_from_the_noised_past():
    processor = diffusion(schedule=EdmSchedule(1e-4, 30.0), time_prior=AtTheEnd(), increment=True, condition_noise=0.5)
    processor.set_increment_scale(torch.tensor([2.0, 5.0]))
    x, y = past(2), torch.randn(2, 4, 8, 12, 2)
    processor.loss(x, y, Condition(), noise_of(2))
    ((sigma, seen),) = processor.backbone.asked
    target, images = (part.unflatten(1, (-1, 2)).movedim(2, -1) for part in seen.split([N_TARGETS, 6], dim=1))
    restored = images[:, -1:] + target * (1 + sigma.reshape(-1, 1, 1, 1, 1) ** 2).sqrt() * torch.tensor([2.0, 5.0])
    torch.testing.assert_close(restored, y, rtol=0, atol=5e-3)
