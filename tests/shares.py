"""Which of two test processes runs what: the long tests come first, and the short ones are what is left to share.

Tests of jobs wait for a cluster most of their time, the other end-to-end tests compute. One process therefore begins
with the former and the other one with the latter; who has nothing left takes half of what the other still has to do.
"""

from __future__ import annotations

from typing import Any

import pytest

CLUSTERS = {"slurm_cluster", "slurm_accounting_cluster", "forgetful_slurm_cluster"}


@pytest.hookimpl(trylast=True)  # after tests were deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two halves, as many tests in each, that begin with their long ones."""
    long = [item for item in items if item.get_closest_marker("e2e")]
    waiting = [item for item in long if _waits(item)]
    computing = [item for item in long if not _waits(item)]
    short = [item for item in items if not item.get_closest_marker("e2e")]
    cut = max(0, len(items) // 2 - len(waiting))
    items[:] = [*waiting, *short[:cut], *computing, *short[cut:]]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A hook of xdist: `-n` alone asks for "load", which would give the long tests of a half away with it."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def _waits(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "forks" not in fixtures and (item.path.parent.name == "slurm" or not CLUSTERS.isdisjoint(fixtures))
