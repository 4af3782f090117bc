"""The script that sbatch is given: guarded letter by letter, because part of it comes from within submitit."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autocast.runs.slurm.submission import Submission
from autocast.runs.slurm.submit import script

RICH = {
    "partition": "gpu",
    "account": "turbulence",
    "qos": "long",
    "constraint": "nvlink",
    "reservation": "school",
    "time": "1-12:00:00",
    "nodes": 2,
    "gpus_per_node": 4,
    "gpu_type": "a100",
    "cpus_per_task": 8,
    "memory": "64G",
    "setup": ["module load python", "source .venv/bin/activate"],
    "options": {"mail_type": ["END", "FAIL"], "exclusive": True, "hold": False, "wckey": "w1"},
    "requeue": False,
    "signal_delay": 300,
}


def submission(section, **keys) -> Submission:
    dependency = keys.pop("dependency", ())
    words, comment = ("train_epd", "/data/rd/00", "train"), "autocast:0badcafe:train:12ab"
    place = (Path("/data/rd/00/epd/logs"), Path("/home/me/work"))
    return Submission(words, "rd.00.epd.train", section(**keys), *place, comment, dependency)


@pytest.mark.parametrize(
    ("name", "keys", "n"),
    [
        ("plain", {}, 1),
        ("rich", {**RICH, "dependency": ("184213", "184214")}, 1),
        ("array", {"time": 90}, 3),
        ("container", {"container": "apptainer exec --nv image.sif"}, 1),
    ],
)
def test_golden_files(section, name, keys, n):
    golden = Path(__file__).with_name("golden") / f"{name}.sh"
    text = script(submission(section, **keys), n).replace(shlex.quote(sys.executable), "PYTHON")
    assert text == golden.read_text()


def lines(section, **keys) -> list[str]:
    return script(submission(section, **keys)).splitlines()


def test_a_null_leaves_its_option_out(section):
    given = [line.partition("=")[0] for line in lines(section) if line.startswith("#SBATCH")]
    absent = (
        "time",
        "partition",
        "account",
        "qos",
        "mem",
        "gpus-per-node",
        "cpus-per-task",
        "wckey",
        "ntasks",
        "dependency",
    )
    assert not {f"#SBATCH --{name}" for name in absent} & set(given)
    assert not any("gpu" in line for line in lines(section, gpus_per_node=0))


def test_dependents_of_a_failed_job_are_removed_only_where_the_site_allows_it(section):
    assert "#SBATCH --kill-on-invalid-dep=yes" in lines(section, dependency=("7",))
    assert "#SBATCH --kill-on-invalid-dep=no" in lines(section, dependency=("7",), kill_on_invalid_dependency=False)
    assert not any("kill-on-invalid-dep" in line for line in lines(section))


def test_nothing_follows_the_command_and_the_first_error_ends_the_job(section):
    text = [line for line in lines(section, setup=["module load x"]) if line and not line.startswith("#")]
    assert text[:2] == ["set -eo pipefail", "module load x"]
    assert text[-1].startswith("srun ")


def test_an_option_cannot_change_what_a_job_stands_on(section):
    changed = lines(section, options={"signal": "B:TERM@5", "chdir": "/elsewhere", "no_requeue": True})
    assert "#SBATCH --signal=USR2@120" in changed
    assert "#SBATCH --chdir=/home/me/work" in changed
    assert "#SBATCH --no-requeue" not in changed


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("apptainer exec image.sif python3.11", " apptainer exec image.sif python3.11 -u"),
        ("apptainer exec image.sif", f" apptainer exec image.sif {shlex.quote(sys.executable)} -u"),
    ],
)
def test_a_container_may_bring_its_own_python(section, container, expected):
    assert expected in lines(section, container=container)[-1] + lines(section, container=container)[-2]


def test_an_environment_cannot_change_the_signal(section, monkeypatch):
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert "#SBATCH --signal=USR2@120" in lines(section)


def test_a_name_is_one_that_every_column_can_hold(section):
    named = replace(submission(section), name="rd.wärme 2.train")
    assert "#SBATCH --job-name=rd.w_rme_2.train" in script(named).splitlines()


def test_what_is_not_known_yet_stands_unquoted(section):
    text = script(submission(section, dependency=("<id of train>",)))
    assert "#SBATCH --dependency=afterok:<id of train>\n" in text
