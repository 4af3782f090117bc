"""Every score is described: to a reader of the docs, to one who asks, and to the registry."""

import re
from pathlib import Path

import pytest

from autocast.errors import ConfigError
from autocast.metrics.catalogue import DEFAULT_METRICS, ENTRIES, FAMILIES, MEAN, MEMBER, described, resolve_names
from autocast.metrics.registry import METRICS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def documented_names() -> dict[str, bool]:
    """Names in the first column of the tables of scores, and whether they are marked as defaults."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Scores")[2].partition("Traps:")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name: "*" in cell for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def test_the_document_lists_every_score_and_marks_the_defaults():
    documented = documented_names()
    assert set(resolve_names(documented)) == set(ENTRIES)
    assert {name for name, marked in documented.items() if marked} == set(DEFAULT_METRICS)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_registry_computes_what_the_catalogue_describes(name: str):
    metric, entry = METRICS[name], ENTRIES[name]
    assert (metric.name, metric.formula, metric.kinds) == (name, entry.formula, entry.kinds)
    assert metric.terms_of(entry.kinds[0])
    assert entry.formula
    assert not any(text.endswith((" ", ",")) for text in (entry.formula, entry.variant, *entry.pitfalls))


@pytest.mark.parametrize("name", [name for name in ENTRIES if "@" in name])
def test_what_others_publish_names_them_and_its_pitfall(name: str):
    assert ENTRIES[name].source
    assert ENTRIES[name].variant
    assert ENTRIES[name].pitfalls


def test_one_member_is_its_own_mean():
    assert ENTRIES["rmse"].kinds_of(1) == (MEMBER,)
    assert ENTRIES["valid_time_correlation"].kinds_of(1) == (MEMBER,)
    assert ENTRIES["valid_time_correlation"].kinds_of(2) == (MEAN,)
    assert ENTRIES["ssr"].kinds_of(1) == ()


def test_families_are_explained_by_their_scores():
    assert [entry.name for entry in described(["conservation", "mse"])] == ["mean_drift", "energy_drift", "mse"]
    assert [entry.name for entry in described(["all"])] == list(ENTRIES)
    assert set(FAMILIES).isdisjoint(ENTRIES)


def test_an_unknown_score_says_where_it_was_asked_for():
    with pytest.raises(ConfigError, match=r"--explain: no such metric 'cprs'.*Did you mean crps\?"):
        described(["cprs"])
