"""What jobs ask for, held against the cluster as it is now: everything that is wrong, at once."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from autocast.runs.problems import Problem
from autocast.runs.slurm.commands import AbsentError, Answer, RefusedError, ask
from autocast.runs.slurm.fitting import Misfit, misfits, named_partitions, unknown_partition, unreadable
from autocast.runs.slurm.nodes import Node, Partition, nodes, nodes_of, partitions
from autocast.runs.slurm.resources import Cluster, submission_environment
from autocast.runs.slurm.submission import Submission
from autocast.runs.slurm.submit import script

RESOURCES = ("time", "nodes", "memory", "gpus_per_node", "gpu_type", "cpus_per_task", "tasks_per_node")
LESS = {**dict.fromkeys(RESOURCES), "nodes": 1, "partition": None}
"""What sbatch is asked with instead of a demand that is known to be wrong, so that it goes on to the next mistake."""
REFUSED_KEYS = {
    "account": "account",
    "qos": "qos",
    "feature": "constraint",
    "reservation": "reservation",
    "wckey": "options",
    "unrecognized option": "options",
    "node name": "options",
}
"""Part of what sbatch says, in lower case, and the key that it means."""
YEAR = 366 * 86400


@dataclass(frozen=True)
class Checks:
    """What came of them."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""
    expected_starts: list[float | None] = field(default_factory=list)
    """Of each job, seconds since the epoch, if it were sent now and waited for nothing."""
    hosts: set[str] = field(default_factory=set)
    """The machines of the cluster."""


def check(clusters: Sequence[Cluster]) -> Checks:
    """Compares the sections of jobs with partitions and nodes, then asks sbatch whether it would take them.

    Writes and submits nothing.

    Raises:
        SchedulerError: There is no scheduler, or it cannot be asked.
    """
    table, everywhere = partitions(), nodes()
    checks = Checks()
    for cluster in clusters:
        _check(cluster, table, everywhere, checks)
    return Checks(
        list(dict.fromkeys(checks.problems)),
        list(dict.fromkeys(checks.notes)),
        list(dict.fromkeys(checks.unchecked)),
        checks.expected_starts,
        {node.host for node in everywhere},
    )


def _check(cluster: Cluster, table: dict[str, Partition], everywhere: Sequence[Node], checks: Checks) -> None:
    asked, names = cluster, named_partitions(cluster, table, os.environ.get("SBATCH_PARTITION"))
    found = list(unreadable(cluster))
    cluster = {**cluster, **{key: None for key, _ in found}}
    there = nodes_of(everywhere, names)
    if unknown := list(unknown_partition(names, table)):
        found += unknown
        checks.unchecked.append("time, nodes, memory, GPUs, tasks and CPUs: they depend on the partition")
    elif not there:
        checks.unchecked.append(f"memory, GPUs, tasks and CPUs: the scheduler shows no nodes of {', '.join(names)}")
    else:
        chosen = [table[name] for name in names]
        found += [misfit for misfit in misfits(cluster, chosen, there) if not _qos_allows(cluster, misfit)]
        checks.notes.extend(_idle_hands(chosen, there))
    refused, start = _ask_sbatch(cluster, [key for key, _ in found])
    checks.problems.extend(Problem(_subject(asked, key), message) for key, message in (*found, *refused))
    checks.expected_starts.append(None if found or refused else start)


def _subject(cluster: Cluster, key: str) -> str:
    if key not in cluster or cluster[key] is None or key == "options":
        return f"cluster.{key}" if key in cluster else "cluster"
    return f"cluster.{key}={cluster[key]}"


def _idle_hands(chosen: Sequence[Partition], there: Sequence[Node]) -> Iterator[str]:
    """What does not forbid a job, and keeps it waiting."""
    names = ", ".join(partition.name for partition in chosen)
    if not any(partition.is_up for partition in chosen):
        yield f"partition {names} is not up: jobs wait until it is"
    elif not any(node.is_in_use for node in there):
        yield f"all nodes of partition {names} are down or drained: jobs wait until one is back"


def _ask_sbatch(cluster: Cluster, wrong: Sequence[str]) -> tuple[list[Misfit], float | None]:
    """What sbatch itself finds, which tells one mistake at a time: each is put aside, and it is asked again.

    Args:
        cluster: The section.
        wrong: Keys that are known to be wrong.

    Returns:
        What is wrong beside them, and when the job would start.
    """
    asked = {**cluster, **{key: LESS[key] for key in wrong}}
    found: list[Misfit] = []
    while True:
        answer = _trial(asked)
        if answer.code == 0:
            return found, _start(answer)
        if not isinstance(answer.error, RefusedError):
            raise answer.error
        key = _refused_key(answer)
        if key is None or asked[key] in (None, {}):
            if not (set(wrong) & {*RESOURCES, "partition"} and key is None):
                found.append((key or "", _told(answer, key)))
            return found, None
        found.append((key, _told(answer, key)))
        asked[key] = {} if key == "options" else None


def _trial(cluster: Cluster) -> Answer:
    here = Path.cwd()
    trial = Submission(("", "", ""), "autocast-check", cluster, here, here, "autocast:check")
    return ask("sbatch", "--test-only", stdin=script(trial), environ=submission_environment(cluster))


def _refused_key(answer: Answer) -> str | None:
    said = answer.said.lower()
    return next((key for phrase, key in REFUSED_KEYS.items() if phrase in said), None)


def _told(answer: Answer, key: str | None) -> str:
    yours = _yours(key) if key in ("account", "qos") else []
    return f"{answer.said}. Yours: {', '.join(yours)}." if yours else str(answer.error)


def _yours(key: str | None) -> list[str]:
    """The accounts, or QOS, of this user; nothing where that cannot be told."""
    me = pwd.getpwuid(os.getuid()).pw_name
    answer = _sacctmgr("association", f"user={me}", f"format={key}")
    names = {name for line in answer.out.splitlines() for name in line.split(",") if name} if answer else set()
    return sorted(names)


def _qos_allows(cluster: Cluster, misfit: Misfit) -> bool:
    """Whether a QOS lifts the partition's limit of time."""
    if misfit[0] != "time" or not cluster["qos"] or cluster["time"] is None:
        return False
    answer = _sacctmgr("qos", f"name={cluster['qos']}", "format=flags")
    return answer is not None and "partitiontimelimit" in answer.out.lower()


def _sacctmgr(*words: str) -> Answer | None:
    try:
        answer = ask("sacctmgr", "--noheader", "--parsable2", "show", *words)
    except AbsentError:
        return None
    return answer if answer.code == 0 else None


def _start(answer: Answer) -> float | None:
    found = re.search(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", f"{answer.out}\n{answer.err}")
    moment = datetime.fromisoformat(found[1]).timestamp() if found else None
    return moment if moment is not None and moment < time.time() + YEAR else None
