"""The contract of backbones, over every file of configs/backbone."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from autocast.errors import ConfigError
from autocast.nn.backbone import Backbone
from autocast.nn.sizes import SIZES

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
GRIDS = [((8,), (False,)), ((8, 12), (True, False)), ((4, 8, 12), (False, True, True)), ((8, 8), (True, True))]


@cache
def leaf_of(option: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        leaf = compose(overrides=[f"+backbone@leaf={option}"]).leaf
    OmegaConf.resolve(leaf)
    return leaf


def build(option: str, grid_shape=(8, 12), periodic=(True, False), condition_features=3, **given) -> Backbone:
    torch.manual_seed(0)
    leaf = OmegaConf.merge(leaf_of(option), {"size": "xs", **given})
    return instantiate(leaf, _convert_="all")(
        2, 5, grid_shape=grid_shape, periodic=periodic, condition_features=condition_features
    )


def relative_difference(y, expected) -> float:
    return float((y - expected).square().mean().sqrt() / expected.square().mean().sqrt())


@pytest.fixture(params=OPTIONS)
def option(request):
    return request.param


@pytest.mark.parametrize(("grid_shape", "periodic"), GRIDS)
@pytest.mark.parametrize("condition_features", [0, 3])
def test_shape_and_gradients(option, grid_shape, periodic, condition_features):
    backbone = build(option, grid_shape, periodic, condition_features)
    y = backbone(torch.randn(3, 2, *grid_shape), torch.randn(3, condition_features))
    assert y.shape == (3, 5, *grid_shape)
    y.square().mean().backward()
    dead = [name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("grid_shape", [(7,), (1, 2), (9, 5), (3, 5, 2)])
@pytest.mark.parametrize("wraps", [True, False])
@torch.no_grad()
def test_any_grid_will_do(option, grid_shape, wraps):
    backbone = build(option, grid_shape, (wraps,) * len(grid_shape))
    y = backbone(torch.randn(2, 2, *grid_shape), torch.randn(2, 3))
    assert y.shape == (2, 5, *grid_shape)
    assert y.isfinite().all()


@torch.no_grad()
def test_every_parameter_changes_the_output(option):
    backbone = build(option)
    x, condition = torch.randn(2, 2, 8, 12), torch.randn(2, 3)
    before = backbone(x, condition)
    for name, parameter in backbone.named_parameters():
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(backbone(x, condition), before), name
        parameter.copy_(kept)


@torch.no_grad()
def test_the_condition_and_every_channel_matter(option):
    backbone = build(option)
    x, condition = torch.randn(2, 2, 8, 12), torch.randn(2, 3)
    before = backbone(x, condition)
    assert relative_difference(backbone(x, condition + 1), before) > 1e-4
    for channel in range(2):
        changed = x.clone()
        changed[:, channel] += torch.randn(8, 12)
        assert relative_difference(backbone(changed, condition), before) > 1e-2


@torch.no_grad()
def test_periodic_axes_are_equivariant_and_others_are_not(option):
    backbone = build(option, grid_shape=(16, 24)).double()
    x, condition = torch.randn(2, 2, 16, 24).double(), torch.randn(2, 3).double()
    y = backbone(x, condition)
    torch.testing.assert_close(backbone(x.roll(8, 2), condition), y.roll(8, 2), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(backbone(x.roll(8, 3), condition), y.roll(8, 3), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_periodic_axes_of_space_are_equivariant(option):
    backbone = build(option, (4, 8, 16), (False, True, True)).double()
    x, condition = torch.randn(1, 2, 4, 8, 16).double(), torch.randn(1, 3).double()
    moved = backbone(x.roll((4, 8), (3, 4)), condition)
    torch.testing.assert_close(moved, backbone(x, condition).roll((4, 8), (3, 4)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_rows_do_not_see_each_other(option):
    backbone = build(option)
    x, condition = torch.randn(3, 2, 8, 12), torch.randn(3, 3)
    torch.testing.assert_close(backbone(x[1:2], condition[1:2]), backbone(x, condition)[1:2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_state_dict_is_complete(option):
    one, two = build(option), build(option)
    for parameter in two.parameters():
        parameter.normal_()
    two.load_state_dict(one.state_dict())
    x, condition = torch.randn(2, 2, 8, 12), torch.randn(2, 3)
    assert torch.equal(one(x, condition), two(x, condition))


def test_gradient_checkpointing_changes_nothing_but_memory(option):
    gradients = []
    for recompute in (False, True):
        backbone = build(option, gradient_checkpointing=recompute)
        torch.manual_seed(1)
        backbone(torch.randn(2, 2, 8, 12), torch.randn(2, 3)).square().mean().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_bfloat16_agrees_with_float32(option):
    backbone = build(option)
    x, condition = torch.randn(2, 2, 8, 12), torch.randn(2, 3)
    exact = backbone(x, condition)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = backbone(x, condition).float()
    assert relative_difference(rounded, exact) < 0.05


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid_shape", [(256,), (64, 64), (64, 64, 64)], ids=["1d", "2d", "3d"])
def test_a_size_has_the_parameters_that_it_promises(option, size, grid_shape):
    leaf = OmegaConf.merge(leaf_of(option), {"size": size})
    with torch.device("meta"):
        backbone = instantiate(leaf, _convert_="all")(
            2, 2, grid_shape=grid_shape, periodic=(True,) * len(grid_shape), condition_features=32
        )
    n_parameters = sum(p.numel() for p in backbone.parameters())
    assert SIZES[size] / 1.35 < n_parameters < SIZES[size] * 1.35


def test_the_default_size_is_s_and_the_root_config_sets_it(option):
    assert leaf_of(option).size == "s"
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        assert compose(overrides=[f"+backbone@leaf={option}", "+size=l"]).leaf.size == "l"


def test_an_unknown_size_names_those_that_there_are(option):
    with pytest.raises(ConfigError, match=r"backbone.size=huge: no such size. There are: xs, s, m, l, xl"):
        build(option, size="huge")
