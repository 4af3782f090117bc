"""Weights of another model as a start: taken over by name, strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autocast.errors import CheckpointError, ConfigError
from autocast.training.initial_weights import WeightNames, init_weights


def network(**parts: nn.Module) -> nn.Module:
    return nn.ModuleDict(parts)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint of a trunk with an old head."""
    torch.manual_seed(0)
    trained = network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 2))
    weights = {f"model.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": weights, "autocast": {}}, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


def saved(file: Path, name: str) -> torch.Tensor:
    return torch.load(file, weights_only=True)["state_dict"][f"model.{name}"]


def test_the_same_model_takes_all(file):
    model = network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 2))
    init_weights(model, file)
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved(file, name))


def test_a_part_may_have_another_name_and_another_part_be_new(file):
    model = network(body=nn.Linear(3, 4), head=nn.Linear(4, 5))
    head = model["head"].weight.detach().clone()
    init_weights(model, file, WeightNames(rename=[["trunk", "body"]], fresh=["head"]))
    assert torch.equal(model["body"].weight, saved(file, "trunk.weight"))
    assert torch.equal(model["head"].weight, head)


@pytest.mark.parametrize("size", [None, 4, 5])
def test_weights_of_an_objective_are_taken_over_only_if_they_are_the_same(file, tmp_path, size):
    checkpoint = torch.load(file, weights_only=True)
    judge = nn.Linear(4, 1)
    checkpoint["state_dict"] |= {f"model.objective.judge.{name}": value for name, value in judge.state_dict().items()}
    torch.save(checkpoint, file)
    parts = {} if size is None else {"objective": network(judge=nn.Linear(size, 1))}
    model = network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 2), **parts)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    init_weights(model, file)
    after = model.state_dict()
    assert torch.equal(after["trunk.weight"], saved(file, "trunk.weight"))
    if size:
        expected = judge.weight if size == 4 else before["objective.judge.weight"]
        assert torch.equal(after["objective.judge.weight"], expected)


def test_what_the_model_lacks_is_left_out_only_if_named(file):
    model = network(trunk=nn.Linear(3, 4))
    with pytest.raises(CheckpointError, match=r"head\.weight is not in the model.*init\.leave"):
        init_weights(model, file)
    init_weights(model, file, WeightNames(leave=["head"]))
    assert torch.equal(model["trunk"].weight, saved(file, "trunk.weight"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 3)), r"head\.weight is \(2, 4\), the model has \(3, 4\)"),
        (network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 2), tail=nn.Linear(1, 1)), r"tail\.weight is missing"),
    ],
)
def test_every_difference_that_is_not_named_is_an_error(file, model, said):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=said + r".*init\.fresh"):
        init_weights(model, file)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (WeightNames(rename=[["trunc", "trunk"]]), "trunc names nothing in the checkpoint"),
        (WeightNames(leave=["hea"]), "hea names nothing in the checkpoint"),
        (WeightNames(rename=[["head", "trunk"]]), r"trunk\.weight would be taken over twice"),
        (WeightNames(fresh=["head.scale"]), r"head\.scale names nothing in the model"),
    ],
)
def test_names_that_cannot_be_meant_are_an_error(file, names, said):
    with pytest.raises(CheckpointError, match=said):
        init_weights(network(trunk=nn.Linear(3, 4), head=nn.Linear(4, 2)), file, names)


def test_names_to_exchange_come_in_pairs():
    with pytest.raises(ConfigError, match=r"init\.rename=.*pairs"):
        WeightNames(rename=[["trunk"]])
