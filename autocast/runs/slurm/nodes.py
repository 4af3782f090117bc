"""Partitions and nodes of the cluster, as far as a job's demands can be held against them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from autocast.runs.slurm.commands import ask
from autocast.runs.walltime import slurm_seconds

MEBIBYTES = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024**2}
OUT_OF_USE = ("DOWN", "DRAIN", "FAIL", "INVAL", "NOT_RESPONDING", "UNKNOWN")


@dataclass(frozen=True)
class Partition:
    name: str
    is_default: bool
    max_time: float
    """Seconds; infinity for unlimited."""
    default_time: float
    """Seconds of a job that names no time."""
    max_nodes: int
    is_up: bool


@dataclass(frozen=True)
class Node:
    name: str
    partitions: tuple[str, ...]
    cpus: int
    memory: int
    """MiB."""
    gpus: dict[str, int]
    """By type; those without one under the empty name."""
    is_in_use: bool
    """Not down or drained now."""
    host: str = ""
    """The machine that it is."""

    def n_gpus(self, gpu_type: str | None) -> int:
        """GPUs of a type, or of any."""
        return sum(self.gpus.values()) if gpu_type is None else self.gpus.get(gpu_type, 0)


def partitions() -> dict[str, Partition]:
    """Every partition that the controller shows, by name.

    Raises:
        SchedulerError: The scheduler cannot be asked.
    """
    found = (_partition(record) for record in _records("partition", "PartitionName"))
    return {partition.name: partition for partition in found}


def nodes() -> list[Node]:
    """Every node.

    Raises:
        SchedulerError: The scheduler cannot be asked.
    """
    return [_node(record) for record in _records("node", "NodeName")]


def nodes_of(found: Iterable[Node], names: Iterable[str]) -> list[Node]:
    """The nodes of any of the partitions."""
    wanted = set(names)
    return [node for node in found if wanted.intersection(node.partitions)]


def mebibytes(memory: str | int) -> float | None:
    """MiB of `64G`; None where it is not an amount of memory. A bare number is MiB."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", str(memory).strip().upper())
    return int(found[1]) * MEBIBYTES[found[2]] if found else None


def _records(what: str, key: str) -> list[dict[str, str]]:
    answer = ask("scontrol", "show", what, "--oneliner")
    if answer.code != 0:
        raise answer.error
    lines = (line for line in answer.out.splitlines() if line.startswith(f"{key}="))
    return [dict(re.findall(r"(?:^| )([A-Z]\w*)=(\S*)", line)) for line in lines]


def _partition(record: dict[str, str]) -> Partition:
    total, most = int(record["TotalNodes"]), record["MaxNodes"]
    max_time = _limit(record["MaxTime"])
    default = record["DefaultTime"]
    return Partition(
        name=record["PartitionName"],
        is_default=record["Default"] == "YES",
        max_time=max_time,
        default_time=max_time if default == "NONE" else _limit(default),
        max_nodes=min(total, int(most)) if most.isdigit() else total,
        is_up=record["State"] == "UP",
    )


def _limit(text: str) -> float:
    return math.inf if text in ("UNLIMITED", "NONE") else slurm_seconds(text)


def _node(record: dict[str, str]) -> Node:
    return Node(
        name=record["NodeName"],
        partitions=tuple(record["Partitions"].split(",")) if "Partitions" in record else (),
        cpus=int(record["CPUEfctv"] if "CPUEfctv" in record else record["CPUTot"]),
        memory=int(record["RealMemory"]),
        gpus=_gpus(record["Gres"]),
        is_in_use=not any(word in record["State"] for word in OUT_OF_USE),
        host=record["NodeHostName"] if "NodeHostName" in record else record["NodeName"],
    )


def _gpus(gres: str) -> dict[str, int]:
    """Of `gpu:a100:4(S:0-1),gpu:h100:2,craynetwork:4`."""
    found: dict[str, int] = {}
    for kind, number in re.findall(r"(?:^|,)gpu(?::([A-Za-z][\w.-]*))?(?::(\d+))?(?=[,(]|$)", gres):
        found[kind] = found.get(kind, 0) + int(number or 1)
    return found
