"""Which process of which job this is, as torchrun or a scheduler tells it; asked without torch."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

FORGOTTEN = ("SLURM_", "PMI_", "PMIX_", "SUBMITIT_")
KEPT = ("SLURM_CONF",)
RECORDED = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_QOS",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
    "SLURM_NTASKS",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_ON_NODE",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables of the scheduler that say where and with what a job ran."""


def rank() -> int:
    """0 in a process that is alone; of several, only that one writes and tells."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def inside_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def job_id() -> str | None:
    """The scheduler's id of the job that this process belongs to: `184213`, of an array `184213_4`."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """How often the scheduler has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def start_id() -> str | None:
    """What processes that were started together have in common; None in one that is alone."""
    job = job_id()
    return f"{job}.{restarts()}" if job else os.environ.get("TORCHELASTIC_RUN_ID")


def scheduler_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in RECORDED if name in os.environ}


def forget_allocation() -> None:
    """Inside an allocation, a local run is not the scheduler's: nothing below shall take it for one of its tasks."""
    for name in [*os.environ]:
        if name.startswith(FORGOTTEN) and name not in KEPT:
            del os.environ[name]


def name_main_address() -> None:
    """Where the processes of a job on several nodes meet, for clusters whose nodes are not found by their names.

    srun runs on the first node, where rank 0 is, and tells its address. Whoever has set MASTER_ADDR knows better.
    """
    nodes, address = os.environ.get("SLURM_JOB_NODELIST"), os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
    if "MASTER_ADDR" in os.environ or not nodes or not address or os.environ.get("SLURM_NTASKS", "1") == "1":
        return
    first = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    try:
        socket.getaddrinfo("".join(part for part in first.groups() if part) if first else "", None)
    except OSError:
        os.environ["MASTER_ADDR"] = address


def count_devices(devices: Any) -> int | None:
    """How many devices a trainer is told to use; None where it finds out."""
    if isinstance(devices, list | tuple):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    text = str(devices)
    return int(text) if text.isdigit() else None
