"""Leaves are constructed in one place, from allowed packages only."""

import sys

import pytest
from omegaconf import OmegaConf

from autocast.errors import ConfigError
from autocast.runs.build import build

PARTS = """
class Pair:
    def __init__(self, first, second=None, *, sizes=(1,)):
        self.first, self.second, self.sizes = first, second, sizes

class Refusing:
    def __init__(self, size):
        raise ValueError("size must be even")
"""


@pytest.fixture(autouse=True)
def own_package(tmp_path, monkeypatch):
    """A package in the working directory, allowed by name."""
    (tmp_path / "built_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "built_parts", raising=False)
    monkeypatch.setenv("AUTOCAST_TARGETS", "built_parts")


def leaf(**values):
    return OmegaConf.create({"model": {"part": {"_target_": "built_parts.Pair", **values}}}).model.part


def test_lists_reach_the_constructor_as_plain_lists():
    pair = build(leaf(first={"a": [1, {"b": 2}]}, sizes=[1, 2]))
    assert type(pair.sizes) is list
    assert type(pair.first) is dict
    assert type(pair.first["a"]) is list


def test_a_partial_leaf_is_completed():
    pair = build(leaf(_partial_=True, second=2), 1, sizes=[3])
    assert (pair.first, pair.second, pair.sizes) == (1, 2, [3])


def test_a_partial_leaf_without_completions_stays_a_partial():
    assert build(leaf(_partial_=True, second=2))(1).second == 2


def test_leaves_inside_leaves_are_constructed():
    assert build(leaf(first={"_target_": "built_parts.Pair", "first": 5})).first.first == 5


def test_plain_mappings_are_leaves_too():
    assert build({"_target_": "built_parts.Pair", "first": 1}).first == 1


@pytest.mark.parametrize(
    ("values", "completions", "said"),
    [
        ({"_target_": "os.getcwd"}, (), "model.part._target_: os.getcwd is not allowed"),
        ({"first": {"_target_": "os.getcwd"}}, (), "model.part.first._target_"),
        ({"_target_": "built_parts.Nothing"}, (), "model.part"),
        ({"_target_": "built_parts.Refusing", "size": 3}, (), "size must be even"),
        ({"first": 1, "third": 3}, (), "model.part"),
        ({"first": 1}, (1,), "takes no arguments"),
        ({"_partial_": True}, (1, 2, 3, 4), "model.part"),
    ],
)
def test_what_cannot_be_built_names_its_key(values, completions, said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        build(leaf(**values), *completions)


def test_a_package_that_was_not_added_is_refused(monkeypatch):
    monkeypatch.delenv("AUTOCAST_TARGETS")
    with pytest.raises(ConfigError, match="AUTOCAST_TARGETS"):
        build(leaf(first=1))
