"""What a job asks of the cluster, as submitit and sbatch take it."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autocast.runs.walltime import slurm_seconds

SIGNAL = "USR2"
"""Sent to every task `cluster.signal_delay` seconds before the time limit."""
STOP_AT_FIRST_ERROR = "set -eo pipefail"
Cluster = Mapping[str, Any]

KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
INHERITED: tuple[str, ...] = (
    "SLURM_",
    "SLURMD_",
    "SRUN_",
    "SUBMITIT_",
    "TORCHELASTIC_",
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "NODE_RANK",
)
INHERITED = (*INHERITED, "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Of a job that we are in ourselves: they would reach the new one and be wrong there."""
OWN_DEFAULTS = {
    "partition": ("SBATCH_PARTITION",),
    "account": ("SBATCH_ACCOUNT",),
    "qos": ("SBATCH_QOS",),
    "constraint": ("SBATCH_CONSTRAINT",),
    "reservation": ("SBATCH_RESERVATION",),
    "time": ("SBATCH_TIMELIMIT",),
    "gpus_per_node": ("SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GRES"),
    "memory": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
}
ALWAYS_OURS = (
    *("SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE", "SBATCH_REQUEUE"),
    *("SBATCH_SIGNAL", "SBATCH_WAIT", "SBATCH_IGNORE_PBS"),
)
"""Variables that sbatch prefers to what a script says."""


def time_limit(cluster: Cluster) -> float | None:
    """Seconds that an attempt may take; None where it is the partition's business."""
    if cluster["time"] is None:
        return None
    seconds = slurm_seconds(cluster["time"])
    return seconds if seconds < math.inf else None


def tasks_per_node(cluster: Cluster) -> int:
    """Processes of the job on each of its nodes."""
    return cluster["tasks_per_node"] or cluster["gpus_per_node"] or 1


def gpus(cluster: Cluster) -> str | None:
    """`a100:4`, `4`, or None for none."""
    if not cluster["gpus_per_node"]:
        return None
    return f"{cluster['gpu_type']}:{cluster['gpus_per_node']}" if cluster["gpu_type"] else str(cluster["gpus_per_node"])


def python(cluster: Cluster) -> str:
    """How python is started on the node: this one, inside the container if there is one.

    A container that has a python of its own names it last: `apptainer exec --nv image.sif python`.
    """
    container = (cluster["container"] or "").strip()
    last = shlex.split(container)[-1:] if container else []
    if last and Path(last[0]).name.startswith("python"):
        return container
    return f"{container} {shlex.quote(sys.executable)}".strip()


def parameters(
    cluster: Cluster, *, name: str, comment: str, directory: Path, dependency: Sequence[str]
) -> dict[str, Any]:
    """Submitit's parameters of a job; what is None is left out of the script.

    srun is told the CPUs of a task once more, because since 22.05 it does not take them from sbatch. If one task fails,
    the others end with it instead of waiting for it until the time limit.
    """
    cpus = cluster["cpus_per_task"]
    srun_cpus = [f"--cpus-per-task={cpus}"] if cpus else []
    return {
        "job_name": re.sub(r"[^!-~]+", "_", name),
        "comment": comment,
        "partition": cluster["partition"],
        "account": cluster["account"],
        "qos": cluster["qos"],
        "constraint": cluster["constraint"],
        "time": _clock(cluster["time"]),
        "nodes": cluster["nodes"],
        "ntasks_per_node": tasks_per_node(cluster),
        "cpus_per_task": cpus,
        "mem": cluster["memory"],
        "dependency": f"afterok:{':'.join(dependency)}" if dependency else None,
        "wckey": None,
        "signal_delay_s": cluster["signal_delay"],
        "setup": [STOP_AT_FIRST_ERROR, *cluster["setup"]],
        "srun_args": ["--open-mode=append", "--kill-on-bad-exit=1", "--wait=0", *srun_cpus],
        "additional_parameters": _options(cluster, directory, waits=bool(dependency)),
    }


def submission_environment(cluster: Cluster) -> dict[str, str]:
    """What sbatch runs in, and the job inherits: nothing of a job around us, no default that a script would lose to.

    A user's own defaults (`SBATCH_ACCOUNT`) hold where the section says nothing.
    """
    stated = [name for key, names in OWN_DEFAULTS.items() if cluster[key] is not None for name in names]
    dropped = {*ALWAYS_OURS, *stated}
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or not (name.startswith(INHERITED) or name in dropped)
    }


def _options(cluster: Cluster, directory: Path, *, waits: bool) -> dict[str, Any]:
    """Options that submitit has no parameter for, or that nobody may change."""
    kill = "yes" if cluster["kill_on_invalid_dependency"] else "no"
    own = {
        "chdir": str(directory),
        "gpus-per-node": gpus(cluster),
        "reservation": cluster["reservation"],
        "signal": f"{SIGNAL}@{cluster['signal_delay']}",
        "requeue": bool(cluster["requeue"]),
        "no-requeue": not cluster["requeue"],
        "kill-on-invalid-dep": kill if waits else None,
    }
    given = {name.replace("_", "-"): _value(value) for name, value in cluster["options"].items()}
    return {name: value for name, value in {**given, **own}.items() if value is not None and value is not False}


def _value(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _clock(time: str | int | None) -> str | int | None:
    """A time limit as sbatch reads it; a number is minutes, shown as a clock so that a slip can be seen."""
    if not isinstance(time, int):
        return time
    days, minutes = divmod(time, 24 * 60)
    clock = f"{minutes // 60:02d}:{minutes % 60:02d}:00"
    return f"{days}-{clock}" if days else clock
