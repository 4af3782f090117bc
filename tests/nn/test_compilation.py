"""Compilation in place: what is compiled, what stays as it was, and what is asked of the machine."""

import copy
import shutil

import pytest
import torch
from torch import nn

from autocast.errors import ConfigError
from autocast.nn.compilation import Network, check_compiler, compile_module, compile_networks, networks_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Half(Network):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.scale * x


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.layer = Half(), Half(), nn.Linear(2, 2)


@pytest.fixture
def replays(monkeypatch):
    """`torch.compile` as CUDA graphs would do it: every output of a function lies in the same place."""
    asked = []

    def fake(function, **options):
        asked.append(options)
        place = torch.empty(3)
        return lambda x: place.copy_(function(x))

    monkeypatch.setattr(torch, "compile", fake)
    return asked


def test_all_networks_of_a_model_are_compiled_and_no_other_module(replays):
    model = Model()
    assert list(networks_of(model)) == [model.first, model.second]
    compile_networks(model, "default")
    assert replays == [{"mode": "default", "fullgraph": False}] * 2


def test_names_stay_and_copies_are_eager(replays):
    model = Model()
    names = list(model.state_dict())
    compile_networks(model, "reduce-overhead")
    assert list(model.state_dict()) == names
    copied = copy.deepcopy(model)
    copied.first.scale.data.fill_(3.0)
    assert torch.equal(copied.first(torch.ones(5)), torch.full((5,), 3.0))  # the compiled one gives three numbers


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_what_a_graph_gave_outlives_its_next_replay(replays, mode):
    network = Half()
    compile_module(network, mode)
    with torch.no_grad():
        first = network(torch.ones(3))
        network(torch.zeros(3))
    assert torch.equal(first, torch.full((3,), 0.5))


@pytest.mark.parametrize(
    ("device", "variable", "message"),
    [
        (CPU, "CXX", r"key: torch compiles for cpu with a C\+\+ compiler, and \S+\+\+ is not on this machine"),
        (GPU, "CC", r"key: torch compiles for cuda with a C compiler"),
    ],
)
def test_without_a_compiler_the_remedy_is_told(monkeypatch, device, variable, message):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=message) as caught:
        check_compiler(device, "key")
    assert f"name another one in ${variable}, or leave key out" in str(caught.value)


def test_a_compiler_may_be_named(monkeypatch):
    monkeypatch.setenv("CXX", "mine++")
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "mine++" else None)
    check_compiler(CPU, "key")
