"""A real SLURM cluster on this machine, its daemons, ports and keys its own: three small nodes, no systemd, no cgroups.

By hand: `python tests/slurm/cluster.py start DIR` prints what a shell must export, `... stop DIR` ends it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

CONTROLLER = ("sbatch", "munged", "slurmctld", "slurmd")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
NODES = ("n1", "n2", "n3")
ACCOUNTS = {"research": (), "small": ("GrpTRES=gres/gpu=1",)}
ENDED = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"}
)
QUEUED = frozenset({"PENDING", "RUNNING"})
COMMANDS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
TEMPLATES = Path(__file__).parent
WITHOUT_ACCOUNTING = "JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none"
WITH_ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStorageHost=localhost
AccountingStoragePort={ports[4]}
AccountingStoragePass=socket={directory}/munge.socket"""
Job = dict[str, str]


class ClusterError(Exception):
    """A daemon that does not start, or a job that does not get where it should."""


def missing_commands(*, accounting: bool = False) -> list[str]:
    """What a cluster needs and this machine lacks."""
    commands = CONTROLLER + ACCOUNTING * accounting
    return [command for command in commands if shutil.which(command, path=COMMANDS) is None]


@dataclass(frozen=True)
class Cluster:
    """The cluster whose files are in `directory`, running or not; whoever knows the directory can use and stop it."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / "slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        """This process' environment, outside any job, with the cluster named in it."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return outside | {"SLURM_CONF": str(self.conf), "PATH": COMMANDS}

    def start(self, *, accounting: bool = False, min_job_age: int = 300, credentials_expire: int = 5) -> None:
        """Returns when every node is idle; ends what it started where that fails.

        Args:
            accounting: Also start a database: `sacct` answers; the accounts are `research` and `small` (one GPU).
            min_job_age: Seconds after which the controller forgets a job that ended.
            credentials_expire: Seconds that a requeued job waits before it may start again; SLURM's own value is 120.
        """
        self.directory.mkdir(parents=True)
        settings: dict[str, Any] = {
            "directory": self.directory,
            "name": f"test{secrets.token_hex(4)}",
            "host": socket.gethostname().partition(".")[0],
            "user": getpass.getuser(),
            "password": secrets.token_hex(16),
            "ports": (ports := _free_ports(6)),
            "node_ports": f"[{','.join(map(str, ports[1:4]))}]",
            "min_job_age": min_job_age,
            "credentials_expire": credentials_expire,
        }
        settings["accounting"] = (WITH_ACCOUNTING if accounting else WITHOUT_ACCOUNTING).format(**settings)
        try:
            self._write_files(settings)
            self._start_daemons(settings, accounting)
        except ClusterError as error:
            self.stop()
            logs = [f"{file.name}: {file.read_text()[-600:]}" for file in self.directory.glob("*.log")]
            raise ClusterError("\n".join([str(error), *logs])) from error

    def stop(self) -> None:
        """Ends its jobs and daemons, by their own pid files, and nothing else. Does nothing the second time."""
        if (self.directory / "slurmctld.pid").is_file():
            self._end_jobs()
        for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "slurmdbd", "mariadbd", "munged"):
            _end_process(self.directory / f"{name}.pid")

    def run(self, *command: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command with text output, on this cluster."""
        result = subprocess.run(
            command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
        )
        if check and result.returncode:
            raise ClusterError(f"{' '.join(command)} returned {result.returncode}: {result.stderr or result.stdout}")
        return result

    def submit(self, body: str, *options: str, cwd: Path) -> str:
        """Gives sbatch a script with this body, from the directory `cwd`; the job's id."""
        file = cwd / f"{secrets.token_hex(4)}.sh"
        file.write_text(f"#!/bin/bash\n{body}\n")
        return self.run("sbatch", "--parsable", *options, str(file), cwd=cwd).stdout.strip()

    def job(self, job_id: str) -> Job:
        """What `scontrol show job` says, by field; empty where the controller does not know the job."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job_id, check=False)
        if shown.returncode == 0:
            fields = r"(?:^| )([A-Z][\w/:]*)=(.*?)(?= [A-Z][\w/:]*=|\s*$)"
            return dict(re.findall(fields, shown.stdout.splitlines()[0]))
        if "Invalid job id" not in shown.stderr:
            raise ClusterError(shown.stderr)
        return {}

    def wait_for(self, job_id: str, states: Collection[str] = ENDED, timeout: float = 90) -> Job:
        """The job once it is in one of the states; by default once it has ended."""
        return self.wait_until(job_id, lambda job: job["JobState"] in states, timeout)

    def wait_until(self, job_id: str, condition: Callable[[Job], bool], timeout: float = 90) -> Job:
        """The job once the condition holds.

        Raises:
            ClusterError: It does not within `timeout` seconds, or the controller does not know the job.
        """
        end = time.monotonic() + timeout
        while (job := self.job(job_id)) and not condition(job):
            if time.monotonic() > end:
                raise ClusterError(f"after {timeout} s: {job}")
            time.sleep(0.2)
        if not job:
            raise ClusterError(f"the controller does not know job {job_id}")
        return job

    def start_again(self, job_id: str, n: int, **changes: str) -> None:
        """Starts a job soon that was put back into the queue for the `n`-th time.

        SLURM would wait until its old credential has expired. That was revoked, and with it all that are not from a
        later second, so that a job which starts at once is killed.

        Args:
            job_id: The job.
            n: Restarts that SLURM counts by then.
            changes: What else is changed of the job: `TimeLimit="10"`.
        """
        job = self.wait_until(job_id, lambda job: job["Restarts"] == str(n) and job["JobState"] in QUEUED, 240)
        if job["JobState"] == "PENDING":
            changes["StartTime"] = "now+2"
        self.update(job_id, **changes)

    def update(self, job_id: str, **changes: str) -> None:
        """Changes fields of a job that is there."""
        if changes:
            self.run("scontrol", "update", f"JobId={job_id}", *(f"{name}={value}" for name, value in changes.items()))

    def wait_forgotten(self, job_id: str, timeout: float = 90) -> None:
        """Returns when the controller has purged the job."""
        _wait(lambda: not self.job(job_id), timeout, f"job {job_id} is still known after {timeout} s")

    def batch_script(self, job_id: str) -> str:
        """Exactly what sbatch was given."""
        return self.run("scontrol", "write", "batch_script", job_id, "-").stdout

    def jobs_below(self, directory: Path) -> list[str]:
        """The queued jobs that work in a directory or below it."""
        lines = self.run("squeue", "--noheader", "--format=%i\t%Z").stdout.splitlines()
        pairs = (line.split("\t") for line in lines)
        return [job_id for job_id, folder in pairs if Path(folder).is_relative_to(directory)]

    def cancel(self, *job_ids: str) -> None:
        if job_ids:
            self.run("scancel", *job_ids, check=False)

    def cancel_all(self) -> None:
        """Every job of the cluster, those of other tests too: only for a cluster of one's own."""
        self.run("scancel", f"--user={getpass.getuser()}", check=False)

    def _write_files(self, settings: dict[str, Any]) -> None:
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (self.directory / name).mkdir()
        for name in ("slurm.conf", "slurmdbd.conf"):
            file = self.directory / name
            file.touch(mode=0o600)  # slurmdbd refuses a file that others can read
            file.write_text((TEMPLATES / name).read_text().format(**settings))
        for n in range(
            2
        ):  # SLURM only counts them: plain files do for GPUs where nothing confines a job to its devices
            (self.directory / f"gpu{n}").touch()
        (self.directory / "gres.conf").write_text(f"Name=gpu Type=a100 File={self.directory}/gpu[0-1]\n")
        key = self.directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))

    def _start_daemons(self, settings: dict[str, Any], accounting: bool) -> None:
        self._start_munged()
        if accounting:
            self._start_database(settings)
            self._daemon("slurmdbd")
            _wait(lambda: not self.run("sacctmgr", "show", "cluster", check=False).returncode, 60, "slurmdbd is silent")
            self._account("cluster", settings["name"])
        self._daemon("slurmctld")
        if accounting:
            for account, limits in ACCOUNTS.items():
                self._account("account", account, *limits)
                self._account("user", settings["user"], f"account={account}")
        for node in NODES:
            self._daemon("slurmd", "-N", node)
        _wait(self._is_idle, 60, "the nodes do not become idle")

    def _start_munged(self) -> None:
        files = {"key-file": "munge.key", "socket": "munge.socket", "seed-file": "munge.seed"}
        files |= {"pid-file": "munged.pid", "log-file": "munged.log"}
        self._daemon("munged", "--force", *(f"--{option}={self.directory / name}" for option, name in files.items()))

    def _start_database(self, settings: dict[str, Any]) -> None:
        data, user, sql = f"--datadir={self.directory}/database", f"--user={settings['user']}", "--no-defaults"
        channel, pid_file = f"--socket={self.directory}/mariadb.socket", self.directory / "mariadbd.pid"
        install = ("mariadb-install-db", sql, data, user, "--auth-root-authentication-method=normal", "--skip-test-db")
        self.run(*install)
        listening = (channel, "--bind-address=127.0.0.1", f"--port={settings['ports'][5]}")
        with (self.directory / "mariadbd.log").open("w") as log:
            subprocess.Popen(
                ["mariadbd", sql, data, user, *listening, f"--pid-file={pid_file}", "--innodb-buffer-pool-size=32M"],
                **self._detached(log),
            )
        _wait(pid_file.is_file, 60, "the database does not start")
        statements = (
            "CREATE DATABASE slurm",
            f"CREATE USER slurm@localhost IDENTIFIED BY '{settings['password']}'",
            "GRANT ALL ON slurm.* TO slurm@localhost",
        )
        self.run("mariadb", sql, "--user=root", channel, f"--execute={';'.join(statements)}")

    def _account(self, *words: str) -> None:
        self.run("sacctmgr", "--immediate", "add", *words)

    def _daemon(self, *command: str) -> None:
        """Starts a daemon that goes to the background by itself."""
        with (self.directory / "daemons.log").open("a") as log:
            returncode = subprocess.run(command, **self._detached(log), check=False).returncode
        if returncode:
            raise ClusterError(f"{' '.join(command)} returned {returncode}")

    def _detached(self, log: TextIO) -> dict[str, Any]:
        """A session of its own, so that Ctrl-C does not reach it, and neither our terminal nor our pipes."""
        return {"env": self.env, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}

    def _is_idle(self) -> bool:
        states = self.run("sinfo", "--noheader", "--Node", "--partition=main,preempt", "--format=%T", check=False)
        return states.stdout.split() == ["idle"] * len(NODES)

    def _end_jobs(self) -> None:
        with suppress(ClusterError):  # a job that outlives this is on its way out
            _wait(self._is_without_jobs, 15, "jobs are left")

    def _is_without_jobs(self) -> bool:
        """Cancels what is there, again and again: a job may requeue itself when it is cancelled."""
        self.cancel_all()
        return not self.run("squeue", "--noheader", check=False).stdout


def _free_ports(n: int) -> list[int]:
    """Ports that nobody listens on; held all at once, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(condition: Callable[[], bool], timeout: float, message: str) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(message)
        time.sleep(0.1)


def _end_process(pid_file: Path) -> None:
    if not pid_file.is_file():
        return
    pid = int(pid_file.read_text())
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if _is_running(pid):
            with suppress(ClusterError, ProcessLookupError):
                os.kill(pid, sent)
                _wait(lambda: not _is_running(pid), 10, f"{pid_file.stem} ignores signal {sent}")
    pid_file.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that nobody has looked at."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--accounting", action="store_true", help="with a database, so that sacct answers")
    parser.add_argument("--min-job-age", type=int, default=300, help="seconds until an ended job is forgotten")
    parser.add_argument("--after", type=int, metavar="PID", help="stop: only when this process has ended")
    options = parser.parse_args()
    cluster = Cluster(options.directory.absolute())
    if options.action == "start":
        cluster.start(accounting=options.accounting, min_job_age=options.min_job_age)
        print(f"export SLURM_CONF={cluster.conf}")
        return
    while options.after and _is_running(options.after):
        time.sleep(1)
    cluster.stop()
    shutil.rmtree(cluster.directory, ignore_errors=options.after is not None)


if __name__ == "__main__":
    main()
