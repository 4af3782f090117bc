"""`autocast eval --explain`: what scores are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from autocast.metrics.catalogue import Entry, described
from autocast.runs.console import Screen


def explain_scores(words: Sequence[str], *, json: bool) -> None:
    """Prints the entries of the scores and families that words name, several with commas between, or of `all`.

    Overrides among the words have nothing to override.

    Raises:
        ConfigError: If there is no such score.
    """
    screen = Screen(as_json=json)
    entries = described(name for word in words if "=" not in word for name in word.split(","))
    if json:
        extra = [{"unit": entry.unit_text, "average": entry.average} for entry in entries]
        screen.document({"scores": [{**asdict(e), **more} for e, more in zip(entries, extra, strict=True)]})
        return
    for entry in entries:
        screen.panel(entry.name, list(_rows(entry)))


def _rows(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "formula", entry.formula
    yield "kinds", ", ".join(entry.kinds) + (f"; {entry.min_members} members or more" if entry.min_members > 1 else "")
    yield "unit", entry.unit_text
    yield "average", entry.average
    if entry.variant:
        yield "variant", entry.variant
    if entry.source:
        yield "source", entry.source
    for pitfall in entry.pitfalls:
        yield "pitfall", pitfall
