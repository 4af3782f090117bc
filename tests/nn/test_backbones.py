"""The contract of backbones, over every file of configs/backbone."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from autocast.nn.backbone import Backbone

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTIONS = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
GRIDS = [((8,), (False,)), ((8, 12), (True, False)), ((4, 8, 12), (False, True, True)), ((8, 8), (True, True))]


def build(option: str, grid_shape=(8, 12), periodic=(True, False), condition_features=3) -> Backbone:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        leaf = compose(overrides=[f"+backbone@leaf={option}"]).leaf
    torch.manual_seed(0)
    return instantiate(leaf, _convert_="all")(
        2, 5, grid_shape=grid_shape, periodic=periodic, condition_features=condition_features
    )


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
    assert not torch.equal(backbone(x, condition + 1), before)
    for channel in range(2):
        changed = x.clone()
        changed[:, channel] += torch.randn(8, 12)
        assert not torch.equal(backbone(changed, condition), before)


@torch.no_grad()
def test_periodic_axes_are_equivariant_and_others_are_not(option):
    backbone = build(option, grid_shape=(16, 24)).double()
    x, condition = torch.randn(2, 2, 16, 24).double(), torch.randn(2, 3).double()
    y = backbone(x, condition)
    torch.testing.assert_close(backbone(x.roll(8, 2), condition), y.roll(8, 2), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(backbone(x.roll(8, 3), condition), y.roll(8, 3), rtol=1e-5, atol=1e-5)


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
