"""What the handling of jobs rests on, asked of SLURM and submitit themselves: if one fails, the design must change."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import submitit

from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.e2e

UNTIL_KILLED = "touch ready; while true; do sleep 0.1; done"
AT_TERM = (
    "trap 'trap \"\" TERM; scontrol show job $SLURM_JOB_ID -o | grep -o JobState=[A-Z]* > state; exit 75' TERM\n"
    + UNTIL_KILLED
)
"""Asks for its state when it is told to end, and lets nothing that is told again end the question."""


class Started(NamedTuple):
    """Jobs that take their time, submitted before the first test."""

    directory: Path
    cluster: Cluster
    warned: str
    """Gets USR2 before its time limit."""
    forgetful: Cluster
    failed: str
    """A failure that its controller forgets."""


@pytest.fixture(scope="module")
def started(
    slurm_cluster: Cluster, forgetful_slurm_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("started")
    batch = "trap 'touch batch_was_warned' USR2\nsrun bash step.sh"
    warned = "trap 'touch step_was_warned; exit 75' USR2\n" + UNTIL_KILLED
    yield Started(
        directory,
        slurm_cluster,
        _step(slurm_cluster, warned, "--time=1", "--signal=USR2@60", cwd=directory, batch=batch),
        forgetful_slurm_cluster,
        forgetful_slurm_cluster.submit("exit 1", cwd=directory),
    )
    slurm_cluster.cancel(*slurm_cluster.jobs_below(directory))


@pytest.fixture(autouse=True)
def _early(started: Started) -> None:
    """Slow jobs go first, whichever test does; the last tests ask for them."""


def test_submitting_returns_before_the_job_runs(slurm: Cluster, tmp_path: Path) -> None:
    job = _executor(tmp_path, slurm_additional_parameters={"hold": True}).submit(os.getpid)
    assert slurm.job(job.job_id)["JobState"] == "PENDING"
    slurm.run("scontrol", "release", job.job_id)
    assert isinstance(job.result(), int)


def test_submitit_appends_to_the_logs_and_keeps_the_exit_code(slurm: Cluster, tmp_path: Path) -> None:
    job = _executor(tmp_path).submit(sys.exit, 75)
    assert "\n#SBATCH --open-mode=append\n" in slurm.batch_script(job.job_id)
    assert slurm.wait_for(job.job_id)["ExitCode"] == "75:0"


def test_submitit_runs_a_setup_without_stopping_at_an_error_in_it(slurm: Cluster, tmp_path: Path) -> None:
    careless = _executor(tmp_path, slurm_setup=["false"]).submit(os.getpid)
    careful = _executor(tmp_path, slurm_setup=["set -eo pipefail", "false"]).submit(os.getpid)
    assert slurm.wait_for(careful.job_id)["JobState"] == "FAILED"
    assert slurm.wait_for(careless.job_id)["JobState"] == "COMPLETED"


def test_afterok_of_a_failed_job_pends_for_ever_unless_invalid_dependencies_kill(
    slurm: Cluster, tmp_path: Path
) -> None:
    failed = slurm.submit("exit 1", cwd=tmp_path)
    slurm.wait_for(failed)
    patient = slurm.submit("exit 0", f"--dependency=afterok:{failed}", cwd=tmp_path)
    killed = slurm.submit("exit 0", f"--dependency=afterok:{failed}", "--kill-on-invalid-dep=yes", cwd=tmp_path)
    assert slurm.wait_for(killed)["JobState"] == "CANCELLED"
    shown = slurm.wait_until(patient, lambda job: job["Reason"] == "DependencyNeverSatisfied")
    assert shown["JobState"] == "PENDING"


def test_lines_after_srun_replace_the_exit_code(slurm: Cluster, tmp_path: Path) -> None:
    bare = slurm.submit("srun bash -c 'exit 3'", cwd=tmp_path)
    followed = slurm.submit("srun bash -c 'exit 3'\necho tidying up", cwd=tmp_path)
    assert slurm.wait_for(bare)["ExitCode"] == "3:0"
    assert slurm.wait_for(followed)["JobState"] == "COMPLETED"


def test_a_batch_script_that_is_sent_a_signal_dies_of_it(slurm: Cluster, tmp_path: Path) -> None:
    job = slurm.submit(UNTIL_KILLED, cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    slurm.run("scancel", "--batch", "--signal=USR2", job)
    assert slurm.wait_for(job)["ExitCode"] == "0:12"


def test_a_signal_reaches_all_descendants_of_a_step_and_spares_those_that_block_or_ignore_it(
    slurm: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "family.py").write_text(_FAMILY)
    job = slurm.submit(f"srun {sys.executable} family.py", cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    slurm.run("scancel", "--signal=USR2", job)
    slurm.wait_for(job)
    ends = json.loads((tmp_path / "ends.json").read_text())
    assert ends == {"plain": -12, "new session": -12, "ignoring": None, "blocking": None}


def test_a_missing_log_directory_fails_the_job_without_a_trace(slurm: Cluster, tmp_path: Path) -> None:
    job = slurm.submit("touch ran", "--output=absent/%j.out", cwd=tmp_path)
    shown = slurm.wait_for(job)
    assert (shown["JobState"], shown["ExitCode"]) == ("FAILED", "0:53")
    assert not list(tmp_path.glob("absent")) + list(tmp_path.glob("ran"))


def test_without_accounting_sacct_fails(slurm: Cluster) -> None:
    result = slurm.run("sacct", check=False)
    assert (result.returncode, "accounting storage is disabled" in result.stderr) == (1, True)


def test_a_test_submission_misses_time_limits_and_names_one_error(slurm: Cluster) -> None:
    wrong = {
        "time": ("--partition=short", "--time=10:00:00"),
        "memory": ("--mem=900G",),
        "gpus": ("--gres=gpu:nosuch:1",),
        "partition": ("--partition=nosuch", "--mem=900G", "--gres=gpu:nosuch:1"),
    }
    results = {
        name: slurm.run("sbatch", "--test-only", *options, "--wrap=true", check=False)
        for name, options in wrong.items()
    }
    assert {name: result.returncode for name, result in results.items()} == {
        "time": 0,
        "memory": 1,
        "gpus": 1,
        "partition": 1,
    }
    assert "invalid partition" in results["partition"].stderr
    assert "node configuration" not in results["partition"].stderr


def test_a_time_above_the_limit_of_the_partition_pends_for_ever(slurm: Cluster, tmp_path: Path) -> None:
    job = slurm.submit("true", "--partition=short", "--time=10:00:00", cwd=tmp_path)
    assert slurm.wait_until(job, lambda shown: shown["Reason"] == "PartitionTimeLimit")["JobState"] == "PENDING"


def test_a_requeue_keeps_the_id_the_logs_and_the_dependents(slurm: Cluster, tmp_path: Path) -> None:
    body = "srun --output=log echo attempt ${SLURM_RESTART_COUNT:-0}\ntouch ready; until [ -e go ]; do sleep 0.1; done"
    job = slurm.submit(body, "--open-mode=append", cwd=tmp_path)
    dependent = slurm.submit("true", f"--dependency=afterok:{job}", cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    slurm.run("scontrol", "requeue", job)
    slurm.start_again(job, 1)
    assert slurm.job(dependent)["Reason"] == "Dependency"
    (tmp_path / "go").touch()
    assert slurm.wait_for(job)["JobState"] == "COMPLETED"
    assert slurm.wait_for(dependent)["JobState"] == "COMPLETED"
    assert (tmp_path / "log").read_text() == "attempt 0\nattempt 1\n"


@pytest.mark.parametrize(
    ("sent", "seen", "ended"), [(["--signal=TERM"], "RUNNING", "FAILED"), ([], "COMPLETING", "CANCELLED")]
)
def test_at_term_the_controller_tells_a_signal_from_a_cancellation(
    sent: list[str], seen: str, ended: str, slurm: Cluster, tmp_path: Path
) -> None:
    job = _step(slurm, AT_TERM, cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    slurm.run("scancel", *sent, job)
    assert slurm.wait_for(job)["JobState"] == ended
    assert (tmp_path / "state").read_text() == f"JobState={seen}\n"


def test_a_preempted_job_is_completing_at_term_and_requeued_by_slurm(slurm: Cluster, tmp_path: Path) -> None:
    body = f"[ $SLURM_RESTART_COUNT ] && exit 0\n{AT_TERM}"
    job = _step(slurm, body, "--partition=preempt", "--exclusive", cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    urgent = slurm.submit("true", "--partition=high", "--exclusive", cwd=tmp_path)
    assert slurm.wait_for(urgent)["JobState"] == "COMPLETED"
    slurm.start_again(job, 1)
    ended = slurm.wait_for(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1")
    assert (tmp_path / "state").read_text() == "JobState=COMPLETING\n"


def test_a_job_that_requeues_itself_at_term_survives_its_cancellation(slurm: Cluster, tmp_path: Path) -> None:
    requeue = "[ $SLURM_RESTART_COUNT ] || trap 'scontrol requeue $SLURM_JOB_ID; exit 75' TERM\n" + UNTIL_KILLED
    job = _step(slurm, requeue, cwd=tmp_path)
    _wait_ready(slurm, job, tmp_path)
    slurm.cancel(job)
    slurm.start_again(job, 1)
    slurm.wait_for(job, {"RUNNING"})


def test_the_script_of_a_job_can_be_read_back(slurm: Cluster, tmp_path: Path) -> None:
    job = slurm.submit("echo 'a  b' $HOME\n# ü", "--hold", cwd=tmp_path)
    assert slurm.batch_script(job).removesuffix("\n") == "#!/bin/bash\necho 'a  b' $HOME\n# ü"


def test_a_job_is_found_by_its_comment(slurm: Cluster, tmp_path: Path) -> None:
    comment = f"autocast:{tmp_path.name}:train:0a1b"
    job = slurm.submit("true", "--hold", f"--comment={comment}", cwd=tmp_path)
    lines = slurm.run("squeue", "--noheader", "--format=%i %k").stdout.splitlines()
    assert f"{job} {comment}" in lines


def test_accounting_knows_how_a_job_ended(slurm_accounting: Cluster, tmp_path: Path) -> None:
    job = slurm_accounting.submit("exit 3", cwd=tmp_path)
    slurm_accounting.wait_for(job)
    query = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,ExitCode")
    slurm_accounting.wait_until(job, lambda _: slurm_accounting.run(*query).stdout.startswith("FAILED"))
    assert slurm_accounting.run(*query).stdout == "FAILED|3:0\n"


def test_afterok_of_a_failed_job_that_was_forgotten_is_dropped_and_the_dependent_runs(started: Started) -> None:
    cluster, failed = started.forgetful, started.failed
    cluster.wait_forgotten(failed)
    unknown = cluster.run("squeue", f"--jobs={failed}", check=False)
    assert (unknown.returncode, "Invalid job id specified" in unknown.stderr) == (1, True)
    dependent = cluster.submit("exit 0", f"--dependency=afterok:{failed}", cwd=started.directory)
    assert cluster.wait_for(dependent)["JobState"] == "COMPLETED"


def test_the_warning_before_the_time_limit_reaches_the_steps_only(started: Started) -> None:
    assert started.cluster.wait_for(started.warned)["ExitCode"] == "75:0"
    assert (started.directory / "step_was_warned").exists()
    assert not (started.directory / "batch_was_warned").exists()


def _executor(folder: Path, **parameters: object) -> submitit.AutoExecutor:
    executor = submitit.AutoExecutor(folder=folder / "logs", cluster="slurm")
    executor.update_parameters(timeout_min=5, **parameters)
    return executor


def _step(cluster: Cluster, body: str, *options: str, cwd: Path, batch: str = "srun bash step.sh") -> str:
    """A job with a single step, whose script this is."""
    (cwd / "step.sh").write_text(body)
    return cluster.submit(batch, *options, cwd=cwd)


def _wait_ready(cluster: Cluster, job: str, directory: Path) -> None:
    cluster.wait_until(job, lambda _: (directory / "ready").exists())


_FAMILY = """\
import json, pathlib, signal, subprocess, time

def child(**options):
    return subprocess.Popen(["sleep", "300"], **options)

signal.signal(signal.SIGUSR2, signal.SIG_IGN)
children = {"ignoring": child()}
signal.signal(signal.SIGUSR2, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
children["blocking"] = child()
signal.signal(signal.SIGUSR2, lambda *_: None)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
children |= {"plain": child(), "new session": child(start_new_session=True)}
pathlib.Path("ready").touch()
children["plain"].wait()
children["new session"].wait()
time.sleep(0.5)
pathlib.Path("ends.json").write_text(json.dumps({name: child.poll() for name, child in children.items()}))
for child in children.values():
    child.kill()
"""
