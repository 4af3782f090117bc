"""What the jobs of a command ask for, against the cluster that they are sent to."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast.runs.place import output_base
from autocast.runs.problems import Problem
from autocast.runs.request import Request
from autocast.runs.slurm.checks import check
from autocast.runs.slurm.commands import SchedulerError
from autocast.runs.watch.verdicts import clock

MOUNTS = Path("/proc/self/mounts")
SOON = 60.0
"""Seconds; a start within them is not worth a word."""
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
ON_THIS_MACHINE = (*IN_MEMORY, "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs")


def cluster_problems(
    sections: Sequence[Mapping[str, Any]], request: Request
) -> tuple[list[Problem], list[str], list[str]]:
    """What is wrong with the resources that jobs ask for, and with where their files lie.

    Returns:
        The problems, what is worth saying, and the checks that could not be made.

    Raises:
        SchedulerError: The cluster cannot be asked, and this is no dry run.
    """
    try:
        checks = check(sections)
    except SchedulerError as error:
        if not request.dry_run:
            raise
        return [], [], [f"the cluster: {error}"]
    start = next(iter(checks.expected_starts), None)
    if start is not None and start - time.time() > SOON:
        checks.notes.append(f"the first job is expected to start at {clock(start)}")
    problems, notes = _unseen(request) if checks.hosts - _names_of_this_machine() else ([], [])
    return [*checks.problems, *problems], [*checks.notes, *notes], checks.unchecked


def _unseen(request: Request) -> tuple[list[Problem], list[str]]:
    """Places that the nodes of a cluster cannot see, or may not."""
    problems, notes = [], []
    for subject, path in (("the run directory", request.workdir or output_base(request)), ("python", Path(sys.prefix))):
        kind = file_system(path)
        where = f"{subject}, {path}, is on a file system of this machine ({kind})"
        if kind in IN_MEMORY:
            problems.append(Problem(str(path), f"{where}: no node can see it. Put it on a shared one"))
        elif kind in ON_THIS_MACHINE:
            notes.append(f"{where}: the nodes must see it under the same path")
    return problems, notes


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that a path is on, or would be; empty where it cannot be told."""
    there = path.expanduser().absolute()
    lines = (line.split() for line in mounts.read_text().splitlines()) if mounts.is_file() else ()
    found = [(Path(words[1]), words[2]) for words in lines if there.is_relative_to(words[1])]
    return max(found, key=lambda mount: len(mount[0].parts), default=(there, ""))[1]


def _names_of_this_machine() -> set[str]:
    name = socket.gethostname()
    return {name, name.partition(".")[0], "localhost"}
