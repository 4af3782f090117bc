"""One call of a scheduler's program: what came back, whether to try again, and what a refusal means."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from autocast.errors import LaunchError
from autocast.runs.environment import redact
from autocast.runs.slurm.refusals import remedy

PATIENCE = 30.0
"""Seconds after which a call counts as hanging. Slurm's own programs give up on a silent controller after 9 to 18 s."""

TRANSIENT = (
    "socket timed out",
    "unable to contact slurm controller",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "zero bytes were transmitted or received",
    "transport endpoint is not connected",
    "communication connection failure",
    "connection reset by peer",
    "connection refused",
    "backup controller in standby mode",
    "slurmctld communications",
    "insane message length",
    "please try again",
)

NEVER_RECEIVED = (
    "connect failure",
    "connection refused",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "backup controller in standby mode",
)
"""Transient errors after which a request has certainly not been acted upon."""

NOT_HERE = ("could not establish a configuration source", "unable to process configuration file")


class SchedulerError(LaunchError):
    """The scheduler cannot be reached, does not answer, or refuses."""


class AbsentError(SchedulerError):
    """There is no scheduler on this machine."""


class UnreachableError(SchedulerError):
    """The scheduler does not answer; nothing is known."""


class RefusedError(SchedulerError):
    """The scheduler said no, and would again."""


@dataclass(frozen=True)
class Answer:
    """What a scheduler's program said."""

    program: str
    code: int | None
    """None: it hung and was killed."""
    out: str
    err: str

    @property
    def said(self) -> str:
        """The messages, without the program's name before each."""
        lines = (line.strip() for line in (self.err.strip() or self.out.strip()).splitlines())
        told = (
            line.removeprefix(f"{self.program}: ").removeprefix("error: ").removeprefix("fatal: ") for line in lines
        )
        message = redact("; ".join(line for line in told if line))
        return message.encode(errors="surrogateescape").decode(errors="replace")

    @property
    def hung(self) -> bool:
        return self.code is None

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed in a moment."""
        return self.hung or (self.code != 0 and _mentions(self.said, TRANSIENT))

    @property
    def is_doubtful(self) -> bool:
        """Whether what was asked for may have been done although the answer is an error, or none."""
        return self.is_transient and not _mentions(self.said, NEVER_RECEIVED)

    @property
    def error(self) -> SchedulerError:
        """The failure in words, with a remedy where one is known."""
        if self.hung:
            return UnreachableError(
                f"{self.program} did not answer. Is the scheduler in order? `sinfo` tells; try again"
            )
        if _mentions(self.said, NOT_HERE):
            return AbsentError(
                f"this machine knows no SLURM cluster ({self.program}: {self.said}). "
                "Work on a login node of the cluster, or set SLURM_CONF"
            )
        if self.is_transient:
            return UnreachableError(
                f"the scheduler cannot be reached now ({self.program}: {self.said}). Try again later"
            )
        return RefusedError(f"{self.program}: {self.said or f'exit code {self.code}'}.{remedy(self.said)}")


def ask(
    *words: str, patience: float | None = None, stdin: str | None = None, environ: Mapping[str, str] | None = None
) -> Answer:
    """Runs a program of the scheduler to its end, or kills it with what it started after `patience` seconds.

    Raises:
        AbsentError: There is no such program on this machine.
    """
    try:
        process = subprocess.Popen(
            words,
            env=dict(scheduler_environment() if environ is None else environ),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",  # squeue cuts names in the middle of a character
            start_new_session=True,  # sites wrap sbatch in scripts: what they start must die with them
        )
    except FileNotFoundError:
        message = f"there is no {words[0]} on this machine. Work on a login node of the cluster, or use --mode local"
        raise AbsentError(message) from None
    with process:
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE if patience is None else patience)
        except subprocess.TimeoutExpired:
            _kill(process)
            return Answer(words[0], None, "", "")
        except BaseException:
            _kill(process)
            raise
    return Answer(words[0], process.returncode, out, err)


def scheduler_environment() -> dict[str, str]:
    """Ours, without settings that change what the scheduler's programs print."""
    changing = ("SQUEUE_", "SACCT_", "SCONTROL_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")
    return {name: value for name, value in os.environ.items() if not name.startswith(changing)}


def _mentions(text: str, phrases: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(phrase in lowered for phrase in phrases)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
