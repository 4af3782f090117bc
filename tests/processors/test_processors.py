"""The contract of processors: every file of configs/processor, with every backbone, in one to three dimensions.

A new file in one of the folders is tested by being there. Networks are as small as `TINY` says, or of size xs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from autocast.generative.noise import Noise
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY: dict[str, dict[str, Any]] = {
    "unet": {"width": 6, "levels": 2, "blocks": 1},
    "vit": {"dim": 8, "depth": 2, "heads": 2, "patch_size": 2},
    "windowed_vit": {"dim": 8, "depth": 2, "heads": 2, "patch_size": 2, "window_size": 2},
    "fno": {"width": 6, "blocks": 2, "modes": 2},
    "convnext_unet": {"width": 6, "levels": 2, "blocks": 1},
}
"""Hyper-parameters of backbones; one that is not listed is of size xs."""
SMALL = {"n_steps": 2, "time_features": 10, "noise_features": 9, "n_members_train": 6}
"""Settings of processors and of what is inside them, where they have these keys."""
SPECS = {
    "1d": EncodedSpec(3, 2, 5, (12,), (False,), n_scalars=8, boundary=("open",)),
    "2d": EncodedSpec(
        2, 3, 1, (8, 12), (True, False), n_scalars=5, n_constant_channels=7, boundary=("periodic", "wall")
    ),
    "3d": EncodedSpec(2, 1, 3, (4, 8, 6), (False, True, False), boundary=("wall", "periodic", "open")),
    "equal": EncodedSpec(4, 4, 4, (4, 4), (True, True), n_scalars=4, n_constant_channels=4),
    "frames": EncodedSpec(2, 1, 1, (8, 12), (True, False), n_frames_input=3, n_frames_output=5),
}
"""Sizes all different in one and two dimensions, also from the rows of a batch, from the members in training and from
what a network is told; and all the same."""
INCREMENTS = ("2d", "3d", "frames")
"""Specifications with which processors forecast increments; with the others, the fields themselves."""
N_ROWS = 4
PERIODIC_GRIDS = {1: (16,), 2: (6, 16), 3: (4, 6, 16)}
"""Periodic along the last axis, which has walls elsewhere."""
SHIFT = 8


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


PROCESSORS, BACKBONES = options("processor"), options("backbone")


@cache
def leaf_of(group: str, option: str) -> Any:
    """A file of `configs/` and all that it includes, as plain values."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        return OmegaConf.to_container(compose(overrides=[f"+{group}@leaf={option}"]), resolve=True)["leaf"]


def nodes(leaf: Any) -> Iterator[dict[str, Any]]:
    """The mapping and those below it."""
    if isinstance(leaf, dict):
        yield leaf
        for child in leaf.values():
            yield from nodes(child)


def build(option: str, spec: EncodedSpec, *, backbone: str = "", **settings: Any) -> Processor:
    """A tiny processor; `backbone` is put in all places where it has one, `settings` where it has these keys."""
    leaf = copy.deepcopy(leaf_of("processor", option))
    for node in nodes(leaf):
        if backbone and "backbone" in node:
            node["backbone"] = copy.deepcopy(leaf_of("backbone", backbone))
    sizes = {leaf_of("backbone", name)["_target_"]: TINY.get(name, {"size": "xs"}) for name in BACKBONES}
    for node in nodes(leaf):
        node.update({key: value for key, value in {**SMALL, **settings}.items() if key in node})
        node.update(sizes.get(node.get("_target_"), {}))
    torch.manual_seed(0)
    return instantiate(OmegaConf.create(leaf), _convert_="all")(spec)


def build_for(option: str, name: str, **settings: Any) -> Processor:
    """With or without increments, as the specification of this name says; a processor that has them not, keeps that."""
    has_increments = leaf_of("processor", option).get("increment") is not None
    if has_increments:
        settings["increment"] = name in INCREMENTS
    n_members = {"n_members_train": N_ROWS} if name == "equal" else {}
    return build(option, SPECS[name], **n_members, **settings)


def data(spec: EncodedSpec, n_rows: int = N_ROWS) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
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


ROWS = range(N_ROWS)


def combinations() -> list[tuple[str, str]]:
    """Every processor with every backbone; files that differ in the backbone alone are one processor."""
    processors = {repr({**leaf_of("processor", name), "backbone": None}): name for name in reversed(PROCESSORS)}
    return [(name, backbone) for name in reversed(processors.values()) for backbone in BACKBONES]


@pytest.fixture(params=PROCESSORS)
def option(request):
    return request.param


@pytest.mark.parametrize(
    ("option", "backbone", "name"),
    [(*pair, name) for pair in combinations() for name in SPECS if name != "frames" or "unet" in pair],
)
def test_it_learns_with_all_it_has_and_forecasts(option, backbone, name):
    processor, spec = build_for(option, name, backbone=backbone), SPECS[name]
    x, y, condition = data(spec)
    loss = processor.loss(x, y, condition, noise_of(*ROWS))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    assert not [n for n, p in processor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]

    with torch.no_grad():
        forecast, again, other = (
            processor.sample(x, condition, noise_of(*n)) for n in (ROWS, ROWS, range(N_ROWS, 2 * N_ROWS))
        )
        assert forecast.shape == y.shape
        assert forecast.isfinite().all()
        assert torch.equal(forecast, again)
        assert torch.equal(forecast, other) == processor.deterministic
        assert not dead_blocks(processor, x, condition)

        twin = build_for(option, name, backbone=backbone)
        for tensor in twin.state_dict().values():
            tensor.copy_(torch.rand_like(tensor) if tensor.is_floating_point() else tensor)
        processor.set_increment_scale(torch.linspace(0.5, 2, spec.n_channels))
        twin.load_state_dict(processor.state_dict())
        samples = [p.sample(x, condition, noise_of(*ROWS)) for p in (processor, twin)]
        assert torch.equal(*samples)


def dead_blocks(processor: Processor, x: Tensor, condition: Condition) -> list[str]:
    """The blocks, children of a list of modules, without which the forecast of the first row is the same."""
    x, condition = x[:1], rows(condition, slice(1))
    before, dead = processor.sample(x, condition, noise_of(0)), []
    for name, block in processor.named_modules():
        parent = processor.get_submodule(name.rpartition(".")[0])
        parameters = list(block.parameters())
        if not isinstance(parent, nn.ModuleList) or not parameters:
            continue
        kept = [p.clone() for p in parameters]
        for p in parameters:
            p.add_(torch.randn_like(p))
        if torch.equal(processor.sample(x, condition, noise_of(0)), before):
            dead.append(name)
        for p, value in zip(parameters, kept, strict=True):
            p.copy_(value)
    return dead


class ShiftedNoise(Noise):
    """The same noise with its fields on a grid shifted along the last axis."""

    def __init__(self, keys: list[tuple[int, ...]], grid_shape: tuple[int, ...]) -> None:
        super().__init__(keys)
        self.grid_shape = grid_shape

    def normal(self, *shape: int, like: Tensor) -> Tensor:
        numbers = super().normal(*shape, like=like)
        if shape[-len(self.grid_shape) :] == self.grid_shape:
            return numbers.roll(SHIFT, -1)
        channels_last = shape[-1 - len(self.grid_shape) : -1] == self.grid_shape
        return numbers.roll(SHIFT, -2) if channels_last else numbers


@torch.no_grad()
@pytest.mark.parametrize("grid_shape", PERIODIC_GRIDS.values(), ids=lambda grid: f"{len(grid)}d")
@pytest.mark.parametrize(("option", "backbone"), combinations())
def test_periodic_axes_are_equivariant(option, backbone, grid_shape):
    n = len(grid_shape)
    boundary = (*["wall"] * (n - 1), "periodic")
    spec = EncodedSpec(2, 1, 1, grid_shape, tuple(kind == "periodic" for kind in boundary), boundary=boundary)
    processor = build(option, spec, backbone=backbone, noise_channels=1)
    x, y, condition = data(spec, n_rows=1)
    noise, shifted_noise = (lambda: noise_of(0)), (lambda: ShiftedNoise([(0, 0)], grid_shape))
    x_shifted, y_shifted = x.roll(SHIFT, -2), y.roll(SHIFT, -2)
    forecast = processor.sample(x, condition, noise())
    shifted = processor.sample(x_shifted, condition, shifted_noise())
    torch.testing.assert_close(shifted, forecast.roll(SHIFT, -2), rtol=1e-4, atol=1e-4)
    losses = (
        processor.loss(x, y, condition, noise()),
        processor.loss(x_shifted, y_shifted, condition, shifted_noise()),
    )
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)


def inner_groups() -> list[tuple[str, str, str]]:
    """Every option of every group inside a processor other than its backbone, one at a time."""
    found = []
    for name in PROCESSORS:
        groups = [key for key in leaf_of("processor", name) if key != "backbone" and (CONFIGS / key).is_dir()]
        found += [(name, group, choice) for group in groups for choice in options(group)]
    return found


@torch.no_grad()
@pytest.mark.parametrize(("name", "group", "choice"), inner_groups())
def test_every_choice_inside_fits(name, group, choice):
    x, y, condition = data(SPECS["2d"])
    processor = build(name, SPECS["2d"], **{group: leaf_of(group, choice)})
    assert processor.loss(x, y, condition, noise_of(*ROWS)).isfinite()
    assert processor.sample(x, condition, noise_of(*ROWS)).shape == y.shape


@torch.no_grad()
def test_every_parameter_changes_the_forecast(option):
    processor = build_for(option, "2d")
    x, _, condition = data(SPECS["2d"], n_rows=1)
    before = processor.sample(x, condition, noise_of(0))
    for name, parameter in processor.named_parameters():
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(processor.sample(x, condition, noise_of(0)), before), name
        parameter.copy_(kept)


@torch.no_grad()
def test_everything_known_changes_the_forecast(option):
    processor = build_for(option, "2d")
    x, _, condition = data(SPECS["2d"])
    before = processor.sample(x, condition, noise_of(*ROWS))
    assert condition.scalars is not None
    assert condition.fields is not None
    for other in (
        (x.flip(1), condition),
        (x, Condition(condition.scalars + 1, condition.fields)),
        (x, Condition(condition.scalars, condition.fields.flip(0))),
    ):
        assert not torch.equal(processor.sample(*other, noise_of(*ROWS)), before)


@torch.no_grad()
def test_the_ends_of_the_grid_are_known(option):
    processor = build_for(option, "2d")
    x, _, condition = data(SPECS["2d"])
    before = processor.sample(x, condition, noise_of(*ROWS))
    for module in processor.modules():
        if isinstance(module, Processor):
            module.boundary_marks.zero_()
    assert not torch.equal(processor.sample(x, condition, noise_of(*ROWS)), before)


@torch.no_grad()
def test_noise_decides_the_loss(option):
    processor = build_for(option, "2d").eval()
    x, y, condition = data(SPECS["2d"])
    first, again, other = (
        processor.loss(x, y, condition, noise_of(*n)) for n in (ROWS, ROWS, range(N_ROWS, 2 * N_ROWS))
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == processor.deterministic


@torch.no_grad()
def test_rows_do_not_depend_on_the_batch(option):
    processor = build_for(option, "2d")
    x, y, condition = data(SPECS["2d"])
    together = processor.sample(x, condition, noise_of(*ROWS))
    alone = processor.sample(x[1:3], rows(condition, slice(1, 3)), noise_of(1, 2))
    torch.testing.assert_close(alone, together[1:3], rtol=1e-4, atol=1e-5)
    losses = [processor.loss(x[i : i + 1], y[i : i + 1], rows(condition, slice(i, i + 1)), noise_of(i)) for i in ROWS]
    torch.testing.assert_close(
        torch.stack(losses).mean(), processor.loss(x, y, condition, noise_of(*ROWS)), rtol=1e-4, atol=1e-5
    )


def test_one_batch_can_be_learned(option):
    processor = build_for(option, "2d")
    x, y, condition = data(SPECS["2d"], n_rows=2)
    y = 0.1 * y + x[:, -1:]
    processor.set_increment_scale(torch.tensor([0.1, 0.1]))
    optimizer = torch.optim.Adam(processor.parameters(), lr=1e-2)

    def loss(step: int) -> Tensor:
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
