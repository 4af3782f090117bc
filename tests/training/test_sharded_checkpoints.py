from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from autocast.training.optimizers import parameter_groups
from autocast.training.sharded_checkpoints import by_name, by_number, link_tree, rename


def make(path: Path, content: str, *, is_directory: bool) -> Path:
    file = path / "part" if is_directory else path
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    return path


def content(path: Path) -> str:
    return (path / "part" if path.is_dir() else path).read_text()


@pytest.mark.parametrize(("new", "old"), list(itertools.product([False, True], repeat=2)))
def test_a_checkpoint_takes_the_name_of_another(tmp_path, new, old):
    target = make(tmp_path / "last.ckpt", "old", is_directory=old)
    make(tmp_path / ".last.ckpt.old", "left by a kill", is_directory=old)
    rename(make(tmp_path / ".last.ckpt.partial", "new", is_directory=new), target)
    assert content(target) == "new"
    assert target.is_dir() == new
    if new or old:
        assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_another_name_of_a_directory_keeps_its_files(tmp_path):
    source = make(tmp_path / "last.ckpt", "kept", is_directory=True)
    link_tree(source, tmp_path / "previous.ckpt")
    (source / "part").unlink()
    assert content(tmp_path / "previous.ckpt") == "kept"


def test_states_are_named_in_the_order_of_the_groups():
    """Which is not that of the model: its weights come before its biases."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    optimizer = torch.optim.AdamW(parameter_groups(model))
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    numbered = optimizer.state_dict()
    named = by_name(numbered, optimizer, model)
    assert [group["params"] for group in named["param_groups"]] == [["0.weight", "1.weight"], ["0.bias", "1.bias"]]
    for name, parameter in model.named_parameters():
        assert torch.equal(named["state"][name]["exp_avg"], optimizer.state[parameter]["exp_avg"])
    assert by_number(named)["param_groups"] == numbered["param_groups"]
    assert by_number(named)["state"].keys() == numbered["state"].keys()
