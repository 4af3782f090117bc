"""Whether what a job asks for is there: all that is wrong, by key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from autocast.runs.problems import did_you_mean, nearest
from autocast.runs.slurm.nodes import Node, Partition, mebibytes
from autocast.runs.slurm.resources import Cluster, tasks_per_node
from autocast.runs.walltime import slurm_seconds

SIGNAL_SLACK = 60
"""Seconds that a signal may be early or late."""
Misfit = tuple[str, str]
"""A key of the section, and what is wrong with it."""


def named_partitions(cluster: Cluster, table: dict[str, Partition], default: str | None = None) -> list[str]:
    """The partitions that a job may go to: those it names, else the user's default, else the cluster's."""
    if named := cluster["partition"] or default:
        return named.split(",")
    return [partition.name for partition in table.values() if partition.is_default]


def unknown_partition(names: Sequence[str], table: dict[str, Partition]) -> Iterator[Misfit]:
    listed = ", ".join(_described(partition) for partition in table.values())
    if not names:
        yield "partition", f"this cluster has no default partition. Give one of {listed}."
    for name in names:
        if name not in table:
            yield "partition", f"no such partition.{did_you_mean(nearest(name, table))} There are: {listed}."


def unreadable(cluster: Cluster) -> Iterator[Misfit]:
    """What no cluster could understand."""
    if cluster["time"] is not None:
        try:
            slurm_seconds(cluster["time"])
        except ValueError as error:
            yield "time", f"{error}."
    if cluster["memory"] is not None and mebibytes(cluster["memory"]) is None:
        yield "memory", "not an amount of memory. Give a number with K, M, G or T: 64G."


def misfits(cluster: Cluster, chosen: Sequence[Partition], found: Sequence[Node]) -> Iterator[Misfit]:
    """What is wrong on every one of the chosen partitions; `found` are their nodes. The section can be read."""
    yield from _time(cluster, chosen)
    most = max(partition.max_nodes for partition in chosen)
    if cluster["nodes"] > most:
        yield "nodes", f"{_where(chosen)} gives a job {most} at most."
    demands = _demands(cluster)
    single = [misfit for fits, explain in demands if not any(map(fits, found)) for misfit in explain(found, chosen)]
    yield from single
    fitting = [node for node in found if all(fits(node) for fits, _ in demands)]
    if not single and len(fitting) < cluster["nodes"] <= most:
        yield "nodes", f"{_where(chosen)} has {len(fitting)} with all of what is asked for."


def _time(cluster: Cluster, chosen: Sequence[Partition]) -> Iterator[Misfit]:
    longest = max(partition.max_time for partition in chosen)
    if cluster["time"] is None:
        default = max(partition.default_time for partition in chosen)
        if default <= cluster["signal_delay"] + SIGNAL_SLACK:
            yield (
                "time",
                f"{_where(chosen)} gives a job that names no time {_clock(default)}, too little to be told to stop "
                f"{cluster['signal_delay']} s before that (cluster.signal_delay). Give up to {_clock(longest)}.",
            )
    elif slurm_seconds(cluster["time"]) > longest:
        yield "time", f"{_where(chosen)} gives a job {_clock(longest)} at most."


Fits = Callable[[Node], bool]
Explain = Callable[[Sequence[Node], Sequence[Partition]], list[Misfit]]


def _demands(cluster: Cluster) -> list[tuple[Fits, Explain]]:
    """What each node of the job must have."""
    demands: list[tuple[Fits, Explain]] = []
    tasks, each = tasks_per_node(cluster), cluster["cpus_per_task"] or 1
    demands.append((lambda node: node.cpus >= tasks * each, lambda *there: [_cpus(cluster, *there)]))
    if cluster["memory"] is not None:
        amount = mebibytes(cluster["memory"]) or 0
        demands.append((lambda node: node.memory >= amount, lambda *there: [_memory(*there)]))
    if number := cluster["gpus_per_node"]:
        kind = cluster["gpu_type"]
        demands.append((lambda node: node.n_gpus(kind) >= number, lambda *there: [_gpus(cluster, *there)]))
    return demands


def _cpus(cluster: Cluster, found: Sequence[Node], chosen: Sequence[Partition]) -> Misfit:
    tasks, each = tasks_per_node(cluster), cluster["cpus_per_task"] or 1
    most = max(node.cpus for node in found)
    key = "cpus_per_task" if each > 1 else "tasks_per_node" if cluster["tasks_per_node"] else "gpus_per_node"
    asked = f"{tasks} tasks of {each} CPUs are {tasks * each}" if each > 1 else f"{tasks} tasks want as many CPUs"
    return key, f"{asked}; a node of {_where(chosen)} has {most} at most."


def _memory(found: Sequence[Node], chosen: Sequence[Partition]) -> Misfit:
    most = max(node.memory for node in found)
    return "memory", f"a node of {_where(chosen)} has {most // 1024}G at most ({most}M)."


def _gpus(cluster: Cluster, found: Sequence[Node], chosen: Sequence[Partition]) -> Misfit:
    kind = cluster["gpu_type"]
    types = sorted({name or "without a type" for node in found for name in node.gpus})
    if not types:
        return "gpus_per_node", f"the nodes of {_where(chosen)} have no GPUs."
    most = max(node.n_gpus(kind) for node in found)
    if not most:
        return "gpu_type", f"{_where(chosen)} has no such GPUs. There are: {', '.join(types)}."
    return "gpus_per_node", f"a node of {_where(chosen)} has {most}{f' {kind}' if kind else ''} at most."


def _where(chosen: Sequence[Partition]) -> str:
    names = ", ".join(partition.name for partition in chosen)
    return f"partition {names}" if len(chosen) == 1 else f"each of the partitions {names}"


def _described(partition: Partition) -> str:
    told = [
        *(["default"] if partition.is_default else []),
        *([f"up to {_clock(partition.max_time)}"] if partition.max_time < math.inf else []),
        *([] if partition.is_up else ["not up"]),
    ]
    return f"{partition.name} ({', '.join(told)})" if told else partition.name


def _clock(seconds: float) -> str:
    """As `cluster.time` takes it."""
    if seconds == math.inf:
        return "unlimited"
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
