"""The contract of parametrisations, over every file of configs/parametrisation."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.errors import ConfigError
from autocast.generative.parametrisations import Edm

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "parametrisation").glob("*.yaml"))
SIGMAS = torch.logspace(-3, 3, 7)[:, None]


@pytest.fixture(params=OPTIONS, scope="module")
def parametrisation(request):
    overrides = [f"+parametrisation@leaf={request.param}", "leaf.sigma_data=0.5"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=overrides).leaf, _convert_="all")


def drawn(n=20000, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x_1, eps = torch.randn(2, len(SIGMAS), n, generator=generator, dtype=dtype)
    return 0.5 * x_1, eps


def test_the_network_sees_and_answers_unit_variance(parametrisation):
    x_1, eps = drawn()
    seen = parametrisation.scale(SIGMAS) * (x_1 + SIGMAS * eps)
    answer = parametrisation.target(x_1, eps, SIGMAS)
    for variance in (seen.var(dim=1), answer.var(dim=1)):
        torch.testing.assert_close(variance, torch.ones(len(SIGMAS)), rtol=0.04, atol=0)


def test_the_right_answer_stands_for_data_and_noise(parametrisation):
    x_1, eps = drawn(n=8, dtype=torch.float64)
    sigma = SIGMAS.double()
    estimates = parametrisation.estimates(x_1 + sigma * eps, parametrisation.target(x_1, eps, sigma), sigma)
    torch.testing.assert_close(estimates[0], x_1)
    torch.testing.assert_close(estimates[1], eps)


def test_estimates_of_any_answer_make_up_what_was_seen(parametrisation):
    y, answer = drawn(n=8, dtype=torch.float64)
    x_hat, eps_hat = parametrisation.estimates(y, answer, SIGMAS.double())
    torch.testing.assert_close(x_hat + SIGMAS * eps_hat, y)


def test_edm_has_the_skip_and_the_scale_of_the_paper():
    y, answer = drawn(n=8, dtype=torch.float64)
    sigma, sigma_data = SIGMAS.double(), 0.5
    total = sigma**2 + sigma_data**2
    x_hat, _ = Edm(sigma_data).estimates(y, answer, sigma)
    torch.testing.assert_close(x_hat, sigma_data**2 / total * y + sigma * sigma_data / total.sqrt() * answer)


def test_edm_is_the_velocity_of_a_variance_preserving_path_but_for_the_sign():
    x_1, eps = drawn(n=8, dtype=torch.float64)
    angle = SIGMAS.double().atan()
    torch.testing.assert_close(-Edm().target(x_1, eps, SIGMAS.double()), angle.cos() * eps - angle.sin() * x_1)


def test_no_spread_of_the_data_is_refused():
    with pytest.raises(ConfigError, match=r"parametrisation.sigma_data=0"):
        Edm(sigma_data=0.0)
