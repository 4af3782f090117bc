"""submitit's executor, with our own way of calling sbatch: its script, its pickle, and its start on the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from submitit.core import core, utils
from submitit.slurm import slurm

from autocast.runs.slurm.resources import parameters, python, time_limit
from autocast.runs.slurm.spool import Spool
from autocast.runs.slurm.submission import Submission

NO_LIMIT = 366 * 24 * 60
"""Minutes of a job whose limit is the partition's, for submitit, which only compares with it."""


class Executor(slurm.SlurmExecutor):
    """Submits one job, or one array, and is then done with: parameters of an executor would stick to the next."""

    def __init__(self, submission: Submission, send: Callable[[], str] | None = None) -> None:
        """Does not look for srun, so that a script can be shown where there is no scheduler.

        Args:
            submission: The job, or the first of an array.
            send: Gives the script that lies in the submission's spool to the scheduler; returns the id.
        """
        super(slurm.SlurmExecutor, self).__init__(submission.log_dir)
        self.python = python(submission.cluster)
        self.spool = Spool(submission.log_dir, submission.comment)
        self._send = send
        limit = time_limit(submission.cluster)
        self._minutes = NO_LIMIT if limit is None else int(limit // 60)
        self.update_parameters(
            **parameters(
                submission.cluster,
                name=submission.name,
                comment=submission.comment,
                directory=submission.directory,
                dependency=submission.dependency,
            )
        )

    def script(self, n: int = 1) -> str:
        """The text for a job, or for an array of `n`."""
        array: dict[str, Any] = {"map_count": n} if n > 1 else {}
        return slurm._make_sbatch_string(self._submitit_command_str, self.folder, **self.parameters, **array)

    def _internal_process_submissions(
        self, delayed_submissions: list[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:  # submitit's own names its files at random and calls sbatch once
        assert self._send is not None
        n = len(delayed_submissions)
        self.folder.mkdir(parents=True, exist_ok=True)
        for index, delayed in enumerate(delayed_submissions):
            delayed.set_timeout(self._minutes, self.max_num_timeout)
            delayed.dump(self.spool.pickle(index if n > 1 else None))
        self.spool.script.write_text(self.script(n), encoding="utf-8")
        job_id = self._send()
        self.spool.hand_over(job_id)
        ids = [f"{job_id}_{index}" for index in range(n)] if n > 1 else [job_id]
        return [slurm.SlurmJob(self.folder, own_id, list(range(self._num_tasks()))) for own_id in ids]


def render(submission: Submission, n: int = 1) -> str:
    """The script of a job, or of an array of `n`; writes nothing.

    What stands in angle brackets is not known yet and will need no quotes.
    """
    text = Executor(submission).script(n)
    for value in (submission.comment, submission.name, f"afterok:{':'.join(submission.dependency)}"):
        if "<" in value:
            text = text.replace(f"='{value}'", f"={value}")
    return text


def run_executor(submissions: Sequence[Submission], send: Callable[[], str]) -> list[str]:
    """Submits a job, or several as one array; returns the ids."""
    from autocast.runs.node import run_job

    workflows, directories, stages = zip(*(submission.words for submission in submissions), strict=True)
    jobs = Executor(submissions[0], send).map_array(run_job, workflows, directories, stages)
    return [job.job_id for job in jobs]
