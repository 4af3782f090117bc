"""What to say about a cause, and what to type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autocast.runs.console import duration
from autocast.runs.ranks import count_devices
from autocast.runs.watch.causes import Evidence

ALLOCATION = re.compile(r"Tried to allocate ([\d.]+ [KMG]iB)")
CAPACITY = re.compile(r"total capacity of ([\d.]+ [KMG]iB)")
AMOUNT = re.compile(r"(?P<number>\d+)(?P<unit>[KMGT]?B?)")


@dataclass(frozen=True)
class Advice:
    """The words for a cause, and command lines that help."""

    text: str
    commands: tuple[str, ...] = ()


def advice(cause: str, found: Evidence) -> Advice:
    return ADVICE[cause](found)


def _resume(found: Evidence, *overrides: str) -> str:
    stage = found.status.stage
    return " ".join(["autocast resume", stage.directory.quoted, *overrides])


def _longer(found: Evidence) -> list[str]:
    """Twice the time, in minutes."""
    return [f"cluster.time={round(found.status.limit / 30)}"] if found.status.limit else []


def _logs(found: Evidence) -> str:
    return f"autocast logs {found.status.stage.directory.quoted} --err"


def _going_on(found: Evidence) -> Advice:
    quoted = found.status.stage.directory.quoted
    text = found.status.why or "nothing is wrong"
    return Advice(text, (f"autocast logs {quoted} -f", f"autocast status {quoted} --watch"))


def _pending(found: Evidence) -> Advice:
    text = found.status.why or "it waits in the queue"
    if found.status.never_starts:
        return Advice(text, (_resume(found),))
    return Advice(text, (f"autocast status {found.status.stage.directory.quoted} --watch",))


def _unreachable(found: Evidence) -> Advice:
    return Advice(found.status.why, (f"autocast status {found.status.stage.directory.quoted}",))


def _resumed(text: str) -> Callable[[Evidence], Advice]:
    return lambda found: Advice(text, (_resume(found),))


def _as_told(found: Evidence) -> Advice:
    return Advice(found.status.why, (_resume(found),))


def _cancelled(found: Evidence) -> Advice:
    by = f" {found.status.why}" if found.status.why else ""
    return Advice(f"cancelled{by}", (_resume(found),))


def _upstream(found: Evidence) -> Advice:
    stage = found.status.stage
    parents = json.loads(stage.directory.run_file(stage.kind, stage.stage).read_text())["parents"]
    runs = dict.fromkeys(parent["run"] for parent in parents if parent["run"])
    looks = [f"autocast why {run}" for run in runs if run != str(stage.directory.path.absolute())]
    return Advice(found.status.why or "what it stands on is not complete", (*looks, _resume(found)))


def _stuck(found: Evidence) -> Advice:
    words = [*_longer(found), *(["checkpoint.every_n_minutes=2"] if found.trains else [])]
    return Advice(found.status.why, (_logs(found), _resume(found, *words)))


def _diverged(found: Evidence) -> Advice:
    clip = (found.config["trainer"]["gradient_clip_val"] or 1.0) / 2
    return Advice(found.told, (_resume(found, f"trainer.gradient_clip_val={clip:g}"),))


def _cuda_memory(found: Evidence) -> Advice:
    of_batch = found.config if found.caches else found.config["datamodule"]
    batch, message = of_batch["batch_size"], found.told
    parts = [f"CUDA out of memory at batch {batch}"]
    if (wanted := ALLOCATION.search(message)) and found.failure:
        where = f" in {found.failure.place}" if found.failure.place else ""
        parts.append(f"the allocation that failed was {wanted[1]}{where}")
    if held := CAPACITY.search(message):
        parts.append(f"the GPU has {held[1]}")
    if found.caches:
        return Advice("; ".join(parts), (_resume(found, f"batch_size={max(1, batch // 2)}"),))
    if not found.trains:
        size = found.config["eval"]["batch_size"] or batch
        return Advice("; ".join(parts), (_resume(found, f"eval.batch_size={max(1, size // 2)}"),))
    return Advice("; ".join(parts), (_resume(found, f"trainer.micro_batch={_half_at_once(found.config)}"),))


def _half_at_once(config: Mapping[str, Any]) -> int:
    """Half of the windows that a device computed at once."""
    trainer = config["trainer"]
    n_devices = (count_devices(trainer["devices"]) or 1) * trainer["num_nodes"]
    of_device = config["datamodule"]["batch_size"] // n_devices
    return max(1, min(of_device, trainer.get("micro_batch") or of_device) // 2)


def _host_memory(found: Evidence) -> Advice:
    memory, limit = (found.config.get("cluster") or {}).get("memory"), found.config["datamodule"].get("memory_limit")
    asked = f"; it had asked for {memory} per node (cluster.memory)" if memory else ""
    words = [f"cluster.memory={_doubled(memory)}"] if memory and found.journal.job_id else []
    less = [f"datamodule.memory_limit={limit / 2:g}"] if limit else []
    commands = [_resume(found, *some) for some in (words, less) if some]
    return Advice(f"out of memory (of the host, not of a GPU){asked}", tuple(commands or [_resume(found)]))


def _time_limit(found: Evidence) -> Advice:
    limit = f" of {duration(found.status.limit)}" if found.status.limit else ""
    step = found.status.progress.step
    saved = f"; it goes on from its last checkpoint, step {step:,}" if step else ""
    more = [] if (found.trains or found.caches) and found.stopped_by else _longer(found)
    return Advice(f"the time limit{limit} came before the end{saved}", (_resume(found, *more),))


def _node(found: Evidence) -> Advice:
    nodes = found.status.job.nodes if found.status.job else ""
    without = [f"+cluster.options.exclude={nodes}"] if nodes and "," not in nodes and "[" not in nodes else []
    named = f" ({nodes})" if nodes else ""
    return Advice(f"a node failed{named}", (_resume(found), *(_resume(found, word) for word in without)))


def _launch(found: Evidence) -> Advice:
    folder = found.status.stage.directory.logs_dir(found.status.stage.kind)
    there = "is there now" if folder.is_dir() else "is not there"
    text = (
        f"Slurm could not start it (0:53): the node could not open its log in {folder}, which {there} on this machine. "
        "It must lie on a file system that nodes see"
    )
    return Advice(text, ("autocast doctor", _resume(found)))


def _environment(found: Evidence) -> Advice:
    if found.failure:
        text = f"{found.told}: where it ran, the environment lacks something; on a cluster, cluster.setup loads it"
    else:
        text = "it ended before Python started: a line of cluster.setup failed, or the environment is not there"
    return Advice(text, ("autocast doctor", _resume(found)))


def _killed(found: Evidence) -> Advice:
    text = "killed by signal 9: by hand, or by the kernel for want of memory"
    return Advice(text, (_resume(found),))


def _lost(found: Evidence) -> Advice:
    step = found.status.progress.step
    saved = f". Its last word was of step {step:,}" if step else ""
    return Advice(f"{found.status.why}: killed (kill -9, memory, a crash of the machine){saved}", (_resume(found),))


def _exception(found: Evidence) -> Advice:
    where = f" in {found.failure.place}" if found.failure and found.failure.place else ""
    return Advice(f"{found.told}{where}", (_resume(found),))


ADVICE: dict[str, Callable[[Evidence], Advice]] = {
    "done": lambda _: Advice("its marker is there: it is complete"),
    "running": _going_on,
    "pending": _pending,
    "scheduler unreachable": _unreachable,
    "not started": _as_told,
    "aborted": _as_told,
    "interrupted": _resumed("interrupted by Ctrl-C"),
    "stuck": _stuck,
    "upstream incomplete": _upstream,
    "cancelled": _cancelled,
    "cancelled by Slurm": _resumed("cancelled from outside (scancel, or an administrator)"),
    "diverged": _diverged,
    "CUDA out of memory": _cuda_memory,
    "disk full": _resumed("no space left, or the quota is used up, where it writes. Make room, then go on"),
    "time limit": _time_limit,
    "out of memory": _host_memory,
    "node failure": _node,
    "preempted": _resumed("preempted by a job of higher priority, and not put back into the queue"),
    "stopped": _as_told,
    "launch failure": _launch,
    "environment": _environment,
    "killed": _killed,
    "exception": _exception,
    "lost": _lost,
    "unexplained": _as_told,
}


def _doubled(memory: str) -> str:
    found = AMOUNT.fullmatch(memory)
    return f"{2 * int(found['number'])}{found['unit']}" if found else memory
