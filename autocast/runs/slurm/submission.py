"""A job that is to be submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast.runs.slurm.resources import Cluster, gpus, tasks_per_node, time_limit


@dataclass(frozen=True)
class Submission:
    """A job to be submitted."""

    words: tuple[str, str, str]
    """Workflow, absolute run directory, stage."""
    name: str
    cluster: Cluster
    """What it asks for: the section `cluster`, complete."""
    log_dir: Path
    """Where its logs, script and pickle lie."""
    directory: Path
    """Where it is started."""
    comment: str
    """Unique, so that the job is recognised."""
    dependency: tuple[str, ...] = ()
    """Jobs that must have ended well before it starts."""

    @property
    def resources(self) -> dict[str, Any]:
        """What it asks for, in short."""
        keys = ("partition", "account", "qos", "time", "nodes", "cpus_per_task", "memory")
        own = {key: self.cluster[key] for key in keys if self.cluster[key] is not None}
        return {**own, "tasks_per_node": tasks_per_node(self.cluster), "gpus_per_node": gpus(self.cluster)}

    @property
    def terms(self) -> dict[str, Any]:
        """What is journaled of it before and after."""
        return {
            "comment": self.comment,
            "dependency": list(self.dependency),
            "time_limit": time_limit(self.cluster),
            "max_attempts": self.cluster["max_attempts"],
        }
