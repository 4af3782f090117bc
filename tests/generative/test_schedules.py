"""The contract of schedules, over every file of configs/schedule."""

import itertools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.errors import ConfigError
from autocast.generative.schedules import Cosine, Edm, LogLogit, VariancePreserving

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "schedule").glob("*.yaml"))


@pytest.fixture(params=OPTIONS, scope="module")
def schedule(request):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return instantiate(compose(overrides=[f"+schedule@leaf={request.param}"]).leaf, _convert_="all")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_falls_from_end_to_end(schedule, dtype):
    sigma = schedule.sigma(torch.linspace(0, 1, 101, dtype=dtype))
    assert sigma.dtype == dtype
    assert sigma.isfinite().all()
    assert sigma[-1] > 0
    assert (sigma.diff() < 0).all()
    assert sigma[0] >= 19
    assert sigma[-1] < 0.05


def test_single_precision_is_enough(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.sigma(t.float()).double(), schedule.sigma(t), rtol=1e-3, atol=0)


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_steps_lead_over_the_path_to_the_data(schedule, n_steps):
    times = schedule.path_times(n_steps)
    assert len(times) == n_steps + 1
    assert 0 < times[0] < 0.05
    assert 0.98 < times[-1] < 1
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_the_time_on_the_path_has_the_same_ratio_of_noise_to_signal(schedule):
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    on_path = schedule.path_time(t)
    torch.testing.assert_close((1 - on_path) / on_path, schedule.sigma(t))


def test_edm_has_its_ends_and_its_spacing():
    sigma = Edm(0.002, 80.0, rho=7.0).sigma(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    torch.testing.assert_close(sigma, torch.tensor([80, middle, 0.002], dtype=torch.float64))


def test_variance_is_preserved_at_the_rate_that_is_given():
    """d ln(alpha) / d left = -beta(left) / 2, with alpha of the noise-to-signal ratio."""
    schedule = VariancePreserving(0.1, 20.0, end=1e-3)
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64, requires_grad=True)
    log_alpha = -(1 + schedule.sigma(t) ** 2).log() / 2
    (rate,) = torch.autograd.grad(log_alpha.sum(), t)
    left = 1 - (1 - 1e-3) * t
    torch.testing.assert_close(rate, (1 - 1e-3) * (0.1 + 19.9 * left) / 2)


def test_the_cosine_turns_evenly():
    angles = Cosine().sigma(torch.linspace(0, 1, 5, dtype=torch.float64)).atan()
    torch.testing.assert_close(angles.diff(), angles.diff()[:1].expand(4))


def test_a_spread_of_one_takes_even_steps_on_the_path():
    times = torch.tensor(LogLogit(spread=1.0).path_times(8))
    torch.testing.assert_close(times.diff(), times.diff()[:1].expand(8))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Edm(sigma_min=2.0, sigma_max=1.0), r"schedule.sigma_min=2.0, sigma_max=1.0"),
        (lambda: Cosine(sigma_min=0.0), r"schedule.sigma_min=0.0"),
        (lambda: LogLogit(spread=0.0), r"schedule.spread=0.0"),
        (lambda: VariancePreserving(end=0.0), r"end=0.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
