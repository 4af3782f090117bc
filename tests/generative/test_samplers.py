"""The contract of samplers, over every file of configs/sampler, and their orders."""

import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.samplers import DDIM, AdamsBashforth2, AdamsBashforth3, Euler, Heun, even_times
from autocast.generative.schedules import Cosine, Edm, LogLogit, VariancePreserving

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "sampler").glob("*.yaml"))
ORDERS = {Euler: 1, DDIM: 1, Heun: 2, AdamsBashforth2: 2, AdamsBashforth3: 3}
CALLS = {Euler: 6, DDIM: 6, Heun: 12, AdamsBashforth2: 7, AdamsBashforth3: 8}
SCHEDULES = {
    "edm": Edm(),
    "vp": VariancePreserving(),
    "cosine": Cosine(),
    "rectified": LogLogit(),
    "log_logit": LogLogit(spread=2.0),
}
TIMES = {"even": even_times} | {name: schedule.path_times for name, schedule in SCHEDULES.items()}


def of_point(x_1):
    """The velocity of all of the data being one point."""
    return lambda x, t: x_1 - (x - t * x_1) / (1 - t)


def of_normal(mean, std):
    """The velocity of normal data."""

    def velocity(x, t):
        slope = (t * std**2 - (1 - t)) / (t**2 * std**2 + (1 - t) ** 2)
        return mean + slope * (x - t * mean)

    return velocity


def growing_times(n_steps):
    """The last steps are three times as long as the first."""
    return [t * (1 + t) / 2 for t in even_times(n_steps)]


@pytest.fixture(params=OPTIONS, scope="module")
def sampler(request):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=[f"+sampler@leaf={request.param}"]).leaf, _convert_="all")


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_a_constant_velocity_is_integrated_exactly(sampler, times):
    x_0, v = torch.randn(3, 2, 8, 12).double(), torch.randn(3, 2, 8, 12).double()
    start = times(sampler.n_steps)[0]
    torch.testing.assert_close(sampler(lambda x, t: v, x_0, times=times), x_0 + (1 - start) * v)


def test_the_velocity_is_asked_within_the_path(sampler):
    asked = []
    sampler(lambda x, t: asked.append(t) or x, torch.randn(3, 2, 8))
    assert asked[0] == 0
    assert all(0 <= t <= 1 for t in asked)


def test_gradients_pass(sampler):
    x_0 = torch.randn(2, 3, requires_grad=True)
    sampler(lambda x, t: -x, x_0).sum().backward()
    assert x_0.grad.abs().min() > 0


@pytest.mark.parametrize(("kind", "n_calls"), CALLS.items())
def test_network_calls_are_as_documented(kind, n_calls):
    asked = []
    kind(6)(lambda x, t: asked.append(t) or x, torch.zeros(1, 1))
    assert len(asked) == n_calls


@pytest.mark.parametrize("times", [even_times, growing_times])
@pytest.mark.parametrize(("kind", "order"), ORDERS.items())
def test_the_error_falls_with_the_order_of_the_method(kind, order, times):
    """Two linear equations with a known answer: x' = -2 x, and x' = cos(3 t) x."""

    def error(n_steps: int) -> float:
        x_0 = torch.ones(2, 1, dtype=torch.float64)
        x_1 = kind(n_steps)(lambda x, t: torch.tensor([[-2.0], [math.cos(3 * t)]]) * x, x_0, times=times)
        exact = torch.tensor([[-2.0], [math.sin(3) / 3]], dtype=torch.float64).exp()
        return float((x_1 - exact).abs().max())

    measured = math.log2(error(128) / error(256))
    assert measured == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("n_steps", [1, 4])
def test_a_single_point_is_reached_exactly(kind, schedule, n_steps):
    x_1, eps = torch.randn(2, 3, 5).double(), torch.randn(2, 3, 5).double()
    start = schedule.path_times(1)[0]
    x_0 = start * x_1 + (1 - start) * eps
    reached = kind(n_steps)(of_point(x_1), x_0, times=schedule.path_times)
    torch.testing.assert_close(reached, x_1, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("kind", ORDERS)
def test_a_normal_distribution_is_reached(kind, schedule):
    """Its flow moves quantiles to quantiles, so mean and spread are seen without drawing."""
    mean, std = 0.7, 0.3
    start = schedule.path_times(1)[0]
    quantiles = torch.special.ndtri(torch.linspace(0.01, 0.99, 99, dtype=torch.float64))
    x_0 = (1 - start) * quantiles
    exact = mean + std * (x_0 - start * mean) / math.hypot(start * std, 1 - start)

    def error(n_steps):
        reached = kind(n_steps)(of_normal(mean, std), x_0, times=schedule.path_times)
        return float((reached - exact).abs().max())

    assert float((exact - (mean + std * quantiles)).abs().max()) < 0.005
    assert error(128) < (0.03 if ORDERS[kind] == 1 else 0.002)
    assert error(128) < error(8) / 4


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("times", [even_times, Edm().path_times])
def test_fresh_noise_keeps_the_distribution(eta, times):
    noise = Noise([(0, i) for i in range(4)])
    x_0 = noise.normal(2000, like=torch.zeros(1))
    reached = DDIM(400, eta)(of_normal(0.7, 0.3), x_0, times=times, noise=noise)
    assert float(reached.mean()) == pytest.approx(0.7, abs=0.02)
    assert float(reached.std()) == pytest.approx(0.3, abs=0.02)
    assert abs(float(torch.corrcoef(torch.stack([x_0.flatten(), reached.flatten()]))[0, 1])) < 0.95


def test_without_fresh_noise_ddim_is_euler():
    x_0 = torch.randn(2, 3, 5).double()
    of_path = Edm().path_times
    euler, ddim = (kind(5)(of_normal(0.7, 0.3), x_0, times=of_path) for kind in (Euler, DDIM))
    torch.testing.assert_close(euler, ddim, rtol=1e-12, atol=1e-12)


def test_fresh_noise_needs_a_stream():
    with pytest.raises(ValueError, match="noise="):
        DDIM(2, eta=1.0)(lambda x, t: x, torch.zeros(1, 1))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"sampler.n_steps=0"):
        Euler(0)
    with pytest.raises(ConfigError, match=r"sampler.eta=2"):
        DDIM(1, eta=2.0)
