"""What is known of a stage at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autocast.runs.watch.progress import Progress
from autocast.runs.watch.stages import Stage
from autocast.runs.watch.verdicts import ACTIVE

if TYPE_CHECKING:
    from autocast.runs.slurm.queue import SlurmJob


@dataclass(frozen=True)
class StageStatus:
    """The state of a stage, and why it is in it."""

    stage: Stage
    state: str
    why: str = ""
    job_id: str | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    progress: Progress = field(default_factory=Progress)
    elapsed: float | None = None
    """Seconds of the latest attempt; of all of them where it is done."""
    limit: float | None = None
    """Seconds that an attempt may take."""
    left: float | None = None
    """Seconds until the end of the stage, expected while it runs."""
    since: float | None = None
    """Time of the journal's last word, or of the marker."""
    job: SlurmJob | None = None
    """What the scheduler says of the job."""
    never_starts: bool = False
    """Whether its job waits for one that has ended without completing."""

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def document(self) -> dict[str, Any]:
        own = ("state", "why", "job_id", "attempt", "max_attempts", "elapsed", "limit", "left", "since")
        far = ("epoch", "n_epochs", "step", "n_steps", "trajectory", "n_trajectories", "fraction")
        values = {name: getattr(self, name) for name in own}
        return {**self.stage.place, **values, **{name: getattr(self.progress, name) for name in far}}
