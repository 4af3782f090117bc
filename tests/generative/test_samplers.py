"""The contract of samplers, over every file of configs/sampler, and their orders."""

import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.errors import ConfigError
from autocast.generative.samplers import AdamsBashforth3, Euler, Heun

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "sampler").glob("*.yaml"))


@pytest.fixture(params=OPTIONS)
def sampler(request):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=[f"+sampler@leaf={request.param}"]).leaf, _convert_="all")


def test_a_constant_velocity_is_integrated_exactly(sampler):
    x_0, v = torch.randn(3, 2, 8, 12).double(), torch.randn(3, 2, 8, 12).double()
    torch.testing.assert_close(sampler(lambda x, t: v, x_0), x_0 + v)


def test_times_are_one_per_row_and_within_the_path(sampler):
    times = []
    sampler(lambda x, t: times.append(t) or x, torch.randn(3, 2, 8))
    assert all(t.shape == (3,) and t.min() >= 0 and t.max() <= 1 for t in times)
    assert times[0].eq(0).all()


def test_gradients_pass(sampler):
    x_0 = torch.randn(2, 3, requires_grad=True)
    sampler(lambda x, t: -x, x_0).sum().backward()
    assert x_0.grad.abs().min() > 0


@pytest.mark.parametrize(("kind", "order"), [(Euler, 1), (Heun, 2), (AdamsBashforth3, 3)])
def test_the_error_falls_with_the_order_of_the_method(kind, order):
    """Two linear equations with a known answer: x' = -2 x, and x' = cos(3 t) x."""

    def error(n_steps: int) -> float:
        x_0 = torch.ones(2, 1, dtype=torch.float64)
        rates = lambda t: torch.stack([torch.full_like(t[0], -2.0), (3 * t[1]).cos()])[:, None]  # noqa: E731
        x_1 = kind(n_steps)(lambda x, t: rates(t) * x, x_0)
        exact = torch.tensor([[-2.0], [math.sin(3) / 3]], dtype=torch.float64).exp()
        return float((x_1 - exact).abs().max())

    measured = math.log2(error(64) / error(128))
    assert measured == pytest.approx(order, abs=0.15)


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match=r"sampler.n_steps=0"):
        Euler(0)
