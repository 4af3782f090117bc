"""What a job asks of the cluster and what its trainer takes from that: one source for devices."""

from __future__ import annotations

import math
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from autocast.runs.overrides import Overrides, Typed
from autocast.runs.problems import Problem
from autocast.runs.ranks import count_devices
from autocast.runs.request import SLURM
from autocast.runs.slurm.resources import tasks_per_node
from autocast.runs.walltime import slurm_seconds, trainer_seconds

GRACE = 60
"""Seconds that a signal may be late, or early."""
TASKS = ("cluster.tasks_per_node", "cluster.gpus_per_node")
AT_LEAST = {
    "nodes": 1,
    "tasks_per_node": 1,
    "cpus_per_task": 1,
    "max_attempts": 1,
    "gpus_per_node": 0,
    "signal_delay": 1,
}
OWN_OPTIONS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "reservation": "reservation",
    "time": "time",
    "nodes": "nodes",
    "ntasks-per-node": "tasks_per_node",
    "gpus-per-node": "gpus_per_node",
    "cpus-per-task": "cpus_per_task",
    "mem": "memory",
    "signal": "signal_delay",
    "requeue": "requeue",
    "no-requeue": "requeue",
    "kill-on-invalid-dep": "kill_on_invalid_dependency",
}
"""Options of sbatch that a key of the section stands for."""
MADE_OPTIONS = ("array", "chdir", "comment", "dependency", "error", "job-name", "ntasks", "open-mode", "output", "wrap")
"""Options of sbatch that every submission makes for itself."""


def narrow(config: DictConfig) -> None:
    """The section of an evaluation: one process, with no more GPUs than it uses."""
    gpus, used = OmegaConf.select(config, "cluster.gpus_per_node"), OmegaConf.select(config, "eval.devices") or 1
    one = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": min(gpus, used) if isinstance(gpus, int) else gpus}
    for key, value in one.items():
        OmegaConf.update(config, f"cluster.{key}", value, force_add=True)


def faults(cluster: DictConfig, typed: Overrides) -> Iterator[Problem]:
    """What is wrong with a section by itself, on any cluster."""
    for key, least in AT_LEAST.items():
        if cluster[key] is not None and cluster[key] < least:
            yield Problem(_subject(typed, f"cluster.{key}"), f"{cluster[key]}: at least {least} is wanted.")
    for written in cluster["options"]:
        name = str(written).replace("_", "-")
        subject = _subject(typed, f"cluster.options.{written}", "cluster.options")
        if name in OWN_OPTIONS:
            yield Problem(subject, f"{name} has a key of its own: cluster.{OWN_OPTIONS[name]}.")
        elif name in MADE_OPTIONS:
            yield Problem(subject, f"{name} is made for every job and cannot be given.")
    if cluster["time"] is not None:
        try:
            slurm_seconds(cluster["time"])
        except ValueError as error:
            yield Problem(_subject(typed, "cluster.time"), f"{error}.")


def allocate_training(config: DictConfig, typed: Overrides, mode: str) -> list[Problem]:
    """Sets the trainer's devices and nodes and the loaders' workers: those of the section in slurm mode, one node here.

    Each process keeps a CPU for itself; the others read data, where these do not fit into memory.

    Returns:
        What contradicts itself.
    """
    if mode != SLURM:
        return list(_on_this_machine(config, typed))
    cluster = config["cluster"]
    if cluster["cpus_per_task"] and not _last(typed, "datamodule.n_workers"):
        OmegaConf.update(config, "datamodule.n_workers", cluster["cpus_per_task"] - 1, force_add=True)
    return [
        *_follow(config, "trainer.devices", tasks_per_node(cluster), TASKS, typed),
        *_follow(config, "trainer.num_nodes", cluster["nodes"], ("cluster.nodes",), typed),
        *_max_time(cluster, typed),
        *_misfits(config, typed),
    ]


def allocate_evaluation(config: DictConfig, typed: Overrides, mode: str) -> list[Problem]:
    """An evaluation is one process, wherever it runs.

    Returns:
        What asks for more, or contradicts itself.
    """
    problems = []
    for key in ("trainer.devices", "trainer.num_nodes"):
        last = _last(typed, key)
        if last and count_devices(last.value) not in (None, 1):
            problems.append(Problem(last.text, "an evaluation is one process on one device. Leave it out."))
        OmegaConf.update(config, key, 1, force_add=True)
    return [*problems, *_one_process(config, typed, mode, "an evaluation")]


def allocate_cache(config: DictConfig, typed: Overrides, mode: str) -> list[Problem]:
    """Latents are cached by one process.

    Returns:
        What asks for more, or contradicts itself.
    """
    return list(_one_process(config, typed, mode, "caching latents"))


def _one_process(config: DictConfig, typed: Overrides, mode: str, what: str) -> Iterator[Problem]:
    if mode != SLURM:
        return
    cluster = config["cluster"]
    n_tasks = tasks_per_node(cluster) * cluster["nodes"]
    if n_tasks > 1:
        yield Problem(_subject(typed, "cluster.nodes", *TASKS), f"{what} is one process; this asks for {n_tasks}.")
    else:
        yield from _misfits(config, typed)


def _on_this_machine(config: DictConfig, typed: Overrides) -> Iterator[Problem]:
    """Several nodes are for slurm mode; a run that is continued here may have had them."""
    last = _last(typed, "trainer.num_nodes")
    if last and count_devices(last.value) not in (None, 1):
        remedy = f"Give trainer.devices here, or --mode slurm cluster.nodes={last.value}."
        yield Problem(last.text, f"there is one node in local mode. {remedy}")
    OmegaConf.update(config, "trainer.num_nodes", 1, force_add=True)


def _follow(config: DictConfig, key: str, wanted: int, sources: tuple[str, ...], typed: Overrides) -> Iterator[Problem]:
    """One key of the trainer that the section decides."""
    OmegaConf.update(config, key, wanted, force_add=True)
    last = _last(typed, key)
    asked = count_devices(last.value) if last else None
    if last is None or asked in (None, wanted):
        return
    sayings = [override.text for source in sources for override in typed.touching(source)]
    if sayings:
        remedy = f"{' '.join(sayings)} makes it {wanted}. Leave {key} out: it follows the cluster section."
    else:
        ways = " or, without GPUs, ".join(f"{source}={asked}" for source in reversed(sources))
        remedy = f"in slurm mode it follows the cluster section, which makes it {wanted}. Give {ways} instead."
    yield Problem(last.text, remedy)


def _max_time(cluster: DictConfig, typed: Overrides) -> Iterator[Problem]:
    last = _last(typed, "trainer.max_time")
    asked = trainer_seconds(last.value) if last else None
    if last and asked and cluster["time"] is not None and asked > slurm_seconds(cluster["time"]):
        yield Problem(
            last.text,
            f"longer than cluster.time={cluster['time']}, where an attempt ends. Leave trainer.max_time out: the run "
            "goes on over restarts; or give a longer cluster.time.",
        )


def _misfits(config: DictConfig, typed: Overrides) -> Iterator[Problem]:
    """What the section says against itself or the rest of the config."""
    cluster, accelerator = config["cluster"], OmegaConf.select(config, "trainer.accelerator")
    gpus, tasks, cpus = cluster["gpus_per_node"], tasks_per_node(cluster), cluster["cpus_per_task"]
    if gpus and accelerator == "cpu":
        subject = _subject(typed, "trainer.accelerator", "cluster.gpus_per_node")
        yield Problem(
            subject,
            f"cluster.gpus_per_node={gpus} asks for GPUs and trainer.accelerator=cpu leaves them idle. "
            f"Give cluster.gpus_per_node=null cluster.tasks_per_node={tasks}, or another accelerator.",
        )
    elif gpus and tasks > gpus:
        subject = _subject(typed, *TASKS)
        yield Problem(subject, f"{tasks} processes on a node with {gpus} GPUs: each wants one of its own.")
    workers = OmegaConf.select(config, "datamodule.n_workers")
    if cpus and isinstance(workers, int) and workers > cpus:
        subject = _subject(typed, "datamodule.n_workers", "cluster.cpus_per_task")
        yield Problem(subject, f"{workers} loader workers on cluster.cpus_per_task={cpus}. Give as many CPUs.")
    yield from _too_short(cluster, typed)


def _too_short(cluster: DictConfig, typed: Overrides) -> Iterator[Problem]:
    limit = slurm_seconds(cluster["time"]) if cluster["time"] is not None else math.inf
    if limit <= cluster["signal_delay"] + GRACE:
        yield Problem(
            _subject(typed, "cluster.time"),
            f"{limit:.0f} s are too short: a job is told to stop {cluster['signal_delay']} s before its limit "
            f"(cluster.signal_delay), and up to {GRACE} s earlier or later than that.",
        )


def _last(typed: Overrides, key: str) -> Typed | None:
    return next((override for override in reversed(typed.values) if override.key == key), None)


def _subject(typed: Overrides, *keys: str) -> str:
    """What was typed of one of the keys, else the first of them."""
    return next((override.text for key in keys for override in reversed(typed.touching(key))), keys[0])
