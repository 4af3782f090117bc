"""The contract of processors, over every file of configs/processor, with every backbone and sampler that they take."""

from itertools import product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from autocast.generative.noise import Noise
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


MIXED = EncodedSpec(2, 3, 2, (8, 12), (True, False), n_scalars=1, n_constant_channels=3)
SPECS = {
    "1d": EncodedSpec(2, 3, 1, (8,), (False,), n_scalars=3),
    "2d": MIXED,
    "3d": EncodedSpec(2, 1, 2, (4, 8, 12), (False, True, True)),
    "equal": EncodedSpec(4, 4, 4, (4, 4), (True, True), n_scalars=4, n_constant_channels=4),
    "frames": EncodedSpec(2, 1, 1, (8, 12), (True, False), n_frames_input=3, n_frames_output=5),
}


def compose_leaf(option: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return compose(overrides=[f"+processor@leaf={option}", *overrides]).leaf


def build(option: str, spec: EncodedSpec = MIXED, *overrides: str) -> Processor:
    torch.manual_seed(0)
    return instantiate(compose_leaf(option, *overrides), _convert_="all")(spec)


def data(spec: EncodedSpec = MIXED, n_rows: int = 4) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n_rows, *shape, generator=generator)

    return (
        normal(spec.n_steps_input, *spec.grid_shape, spec.n_channels_input),
        normal(spec.n_steps_output, *spec.grid_shape, spec.n_channels_output),
        Condition(
            normal(spec.n_scalars) if spec.n_scalars else None,
            normal(*spec.grid_shape, spec.n_constant_channels) if spec.n_constant_channels else None,
        ),
    )


def rows(condition: Condition, index: slice) -> Condition:
    return Condition(*(None if x is None else x[index] for x in (condition.scalars, condition.fields)))


def noise_of(*rows: int) -> Noise:
    return Noise([(0, row) for row in rows])


NOISE = range(4)


@pytest.fixture(params=options("processor"))
def option(request):
    return request.param


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_loss_gradients_and_sample(option, spec):
    processor = build(option, spec)
    x, y, condition = data(spec)
    loss = processor.loss(x, y, condition, noise_of(*NOISE))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    assert not [n for n, p in processor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    forecast = processor.sample(x, condition, noise_of(*NOISE))
    assert forecast.shape == y.shape
    assert forecast.isfinite().all()


def combinations() -> list[tuple[str, str]]:
    """Every option of every nested group of every processor, one at a time."""
    pairs = []
    for option, group in product(options("processor"), ("backbone", "sampler")):
        if group in compose_leaf(option):
            pairs += [(option, f"{group}@leaf.{group}={choice}") for choice in options(group)]
    return pairs


@pytest.mark.parametrize(("option", "override"), combinations())
def test_every_backbone_and_sampler_fits(option, override):
    x, y, condition = data()
    processor = build(option, MIXED, override)
    assert processor.loss(x, y, condition, noise_of(*NOISE)).isfinite()
    assert processor.sample(x, condition, noise_of(*NOISE)).shape == y.shape


@torch.no_grad()
def test_every_parameter_changes_the_forecast(option):
    processor = build(option)
    x, _, condition = data(n_rows=1)
    before = processor.sample(x, condition, noise_of(0))
    for name, parameter in processor.named_parameters():
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(processor.sample(x, condition, noise_of(0)), before), name
        parameter.copy_(kept)


@torch.no_grad()
def test_everything_known_changes_the_forecast(option):
    processor = build(option)
    x, _, condition = data()
    before = processor.sample(x, condition, noise_of(*NOISE))
    assert condition.scalars is not None
    assert condition.fields is not None
    others = [
        (x.flip(1), condition),
        (x, Condition(condition.scalars + 1, condition.fields)),
        (x, Condition(condition.scalars, condition.fields.flip(0))),
    ]
    for other in others:
        assert not torch.equal(processor.sample(*other, noise_of(*NOISE)), before)


@torch.no_grad()
def test_noise_repeats_and_decides_what_is_drawn(option):
    processor = build(option)
    x, y, condition = data()
    first, again, other = (processor.sample(x, condition, noise_of(*n)) for n in (NOISE, NOISE, range(4, 8)))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == processor.deterministic
    losses = [processor.loss(x, y, condition, noise_of(*NOISE)) for _ in range(2)]
    assert torch.equal(*losses)


@torch.no_grad()
def test_rows_do_not_depend_on_the_batch(option):
    processor = build(option)
    x, y, condition = data()
    together = processor.sample(x, condition, noise_of(*NOISE))
    alone = processor.sample(x[1:3], rows(condition, slice(1, 3)), noise_of(1, 2))
    torch.testing.assert_close(alone, together[1:3], rtol=1e-4, atol=1e-5)
    losses = [processor.loss(x[i : i + 1], y[i : i + 1], rows(condition, slice(i, i + 1)), noise_of(i)) for i in NOISE]
    torch.testing.assert_close(
        torch.stack(losses).mean(), processor.loss(x, y, condition, noise_of(*NOISE)), rtol=1e-4, atol=1e-5
    )


class ShiftedNoise(Noise):
    """The same noise with its fields on a grid of 16 x 24 shifted by 8 along the second axis."""

    def normal(self, *shape: int, like: torch.Tensor) -> torch.Tensor:
        numbers = super().normal(*shape, like=like)
        if shape[-2:] == (16, 24):
            return numbers.roll(8, -1)
        return numbers.roll(8, -2) if shape[-3:-1] == (16, 24) else numbers


@torch.no_grad()
@pytest.mark.parametrize("periodic", [(True, True), (False, True)])
def test_periodic_axes_are_equivariant(option, periodic):
    spec = EncodedSpec(2, 1, 1, (16, 24), periodic)
    processor = build(option, spec)
    x, y, condition = data(spec)
    keys = [(0, row) for row in NOISE]
    forecast = processor.sample(x, condition, Noise(keys))
    shifted = processor.sample(x.roll(8, 3), condition, ShiftedNoise(keys))
    torch.testing.assert_close(shifted, forecast.roll(8, 3), rtol=1e-4, atol=1e-4)
    losses = (
        processor.loss(x, y, condition, Noise(keys)),
        processor.loss(x.roll(8, 3), y.roll(8, 3), condition, ShiftedNoise(keys)),
    )
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_state_dict_is_complete(option):
    one, two = build(option), build(option)
    one.set_increment_scale(torch.tensor([0.5, 2.0]))
    for parameter in two.parameters():
        parameter.normal_()
    two.load_state_dict(one.state_dict())
    x, _, condition = data()
    assert torch.equal(*(processor.sample(x, condition, noise_of(*NOISE)) for processor in (one, two)))


def test_one_batch_can_be_learned(option):
    processor = build(option)
    x, y, condition = data(n_rows=2)
    y = 0.1 * y + x[:, -1:]
    processor.set_increment_scale(torch.tensor([0.1, 0.1]))
    optimizer = torch.optim.Adam(processor.parameters(), lr=3e-3)

    def loss(step: int) -> torch.Tensor:
        return processor.loss(x, y, condition, Noise([(step, row) for row in range(2)]))

    with torch.no_grad():
        before = torch.stack([loss(step) for step in range(8)]).mean()
    for step in range(30):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    with torch.no_grad():
        after = torch.stack([loss(step) for step in range(8)]).mean()
    assert after < 0.7 * before
