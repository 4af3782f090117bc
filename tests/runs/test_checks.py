"""A config against the signatures of what it constructs."""

import pytest
from omegaconf import OmegaConf

from autocast.runs.checks import Checker
from autocast.runs.signatures import Signatures
from autocast.runs.sources import Sources

PARTS = """
class Part:
    def __init__(self, size: int, name: str = "a", *, inner=None, table: dict[str, int] = {}): ...

class Open:
    def __init__(self, **kwargs): ...
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Problems of a simulation's config with the given simulator, as a dict."""
    (tmp_path / "own_parts.py").write_text(PARTS)
    monkeypatch.setenv("AUTOCAST_TARGETS", "own_parts")
    signatures = Signatures(Sources(extra_paths=(str(tmp_path),)))

    def run(simulator, **others):
        checker = Checker(signatures)
        config = {"simulator": {"_target_": "own_parts.Part"} | simulator, "splits": {"train": 1}} | others
        checker.check(OmegaConf.create(config), "simulate")
        return {problem.subject: problem.message for problem in checker.problems}

    return run


def test_a_config_that_fits_has_no_problems(check):
    assert check({"size": 3, "name": "b", "table": {"x": 1}}) == {}


@pytest.mark.parametrize(
    ("simulator", "subject", "said"),
    [
        ({"size": 3, "nam": "b"}, "simulator.nam", "Did you mean simulator.name?"),
        ({"size": 3, "zzz": "b"}, "simulator.zzz", "There are: size, name, inner, table."),
        ({"size": "x"}, "simulator.size", "a whole number is wanted"),
        ({"size": 3, "table": {"x": "y"}}, "simulator.table.x", "a whole number is wanted"),
        ({}, "simulator.size", "has no value"),
        ({"size": "???"}, "simulator.size", "has no value"),
        ({"_target_": "own_parts.Prat", "size": 3}, "simulator._target_", "Did you mean Part?"),
        ({"_target_": "os.system"}, "simulator._target_", "not allowed"),
        ({"size": 3, "inner": {"_target_": "own_parts.Part"}}, "simulator.inner.size", "has no value"),
        ({"size": 3, "inner": [{"_target_": "own_parts.Part", "size": "x"}]}, "simulator.inner[0].size", "wanted"),
    ],
)
def test_each_fault_is_named_by_its_key(check, simulator, subject, said):
    problems = check(simulator)
    assert list(problems) == [subject]
    assert said in problems[subject]


def test_a_partial_leaf_may_lack_what_completes_it(check):
    assert check({"_partial_": True}) == {}


def test_an_open_constructor_takes_any_keyword(check):
    assert check({"_target_": "own_parts.Open", "anything": 1}) == {}


def test_sections_that_code_branches_on_have_known_keys(check):
    assert list(check({"size": 3}, batch_sise=3)) == ["batch_sise"]
    assert list(check({"size": 3}, splits={"train": "x"})) == ["splits.train"]


def test_what_a_section_lacks_gets_its_default(tmp_path):
    config = OmegaConf.create({"simulator": {"_target_": "autocast.types.FieldSpec", "_partial_": True}, "splits": {}})
    assert Checker(Signatures()).check(config, "simulate").batch_size == 8


def test_references_are_followed_before_types_are_checked(check):
    assert check({"size": "${batch_size}"}, batch_size=4) == {}
    assert list(check({"size": "${batch_size}"}, batch_size="x")) == ["batch_size"]


def test_a_circle_of_references_is_a_problem(check):
    assert set(check({"size": "${batch_size}"}, batch_size="${simulator.size}")) == {"simulator.size", "batch_size"}


def test_a_key_that_is_not_there_is_itself_the_problem_whatever_it_refers_to(check):
    assert list(check({"size": 3, "nam": "${batch_size}"}, batch_size=4)) == ["simulator.nam"]
