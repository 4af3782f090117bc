"""The files of a submission: found again by its comment as long as its job has no number, then where submitit looks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spool:
    """Script and pickles in the folder of the logs."""

    folder: Path
    comment: str

    @property
    def script(self) -> Path:
        return self.folder / f".{self._stem}.sh"

    def pickle(self, index: int | None = None) -> Path:
        """What the job is told to do; of an array each task has its own."""
        return self.folder / f".{self._stem}{'' if index is None else f'_{index}'}.pkl"

    def hand_over(self, job_id: str) -> None:
        """Gives the files the names of the job. It waits for its pickle for a minute. May be done twice."""
        for pickle in self._pickles():
            index = pickle.stem.removeprefix(f".{self._stem}")
            pickle.replace(self.folder / f"{job_id}{index}_submitted.pkl")
        if self.script.is_file():
            self.script.replace(self.folder / f"{job_id}_submission.sh")

    def remove(self) -> None:
        """Leaves nothing of a submission that became no job."""
        for file in (*self._pickles(), self.script):
            file.unlink(missing_ok=True)

    @property
    def _stem(self) -> str:
        return re.sub(r"[^\w.-]+", "-", self.comment)

    def _pickles(self) -> list[Path]:
        name = re.compile(rf"\.{re.escape(self._stem)}(_\d+)?\.pkl")
        return sorted(file for file in self.folder.glob(f".{self._stem}*.pkl") if name.fullmatch(file.name))
