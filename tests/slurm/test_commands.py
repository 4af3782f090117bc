"""What commands say, refuse and leave behind on a real cluster: most jobs here are held, and train nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autocast.runs.events import append_event, this_process
from tests.slurm.cluster import Cluster
from tests.slurm.workplace import PATIENCE, QUICK_EVAL, SMALL, Stage, Workplace, wait_until

pytestmark = pytest.mark.e2e

FOLLOWED = "--mode slurm --dataset waves --date rd --run-name 00"
DETACHED = f"{FOLLOWED} --detach"
HELD = "cluster.options.hold=true"
ONE_EPOCH = ("trainer.max_epochs=1", *SMALL)
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
REFUSED = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
TEMPLATES = Path(__file__).parents[2] / "slurm_templates"


def sbatch_that(place: Workplace, body: str) -> None:
    """From now on the commands of a place find this script instead of sbatch; `sbatch` in it is the real one."""
    folder = place.path / "bin"
    folder.mkdir()
    real = shutil.which("sbatch")
    text = f'#!/bin/bash\nsbatch() {{ {real} "$@"; }}\n[[ " $* " == *" --test-only "* ]] && exec {real} "$@"\n{body}\n'
    (folder / "sbatch").write_text(text)
    (folder / "sbatch").chmod(0o755)
    place.env["PATH"] = f"{folder}:{place.env['PATH']}"


def jobs_of(stage: Stage, slurm: Cluster) -> list[str]:
    """The jobs that were submitted for a stage, whoever knows of them and however they ended."""
    uid = stage.run.run_record(stage.kind, stage.name)["uid"]
    lines = slurm.run("squeue", "--noheader", "--states=all", "--format=%i %k").stdout.splitlines()
    return [line.split()[0] for line in lines if f":{uid}:{stage.name}:" in line]


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory: when it was changed, and to what."""
    files = sorted(path.rglob("*"))
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes() if file.is_file() else b"") for file in files}


def test_a_dry_run_shows_the_scripts_that_are_submitted(place: Workplace, slurm: Cluster, tmp_path: Path):
    line, words = f"train-eval {DETACHED}", (*ONE_EPOCH, HELD, "cluster.time=90", "cluster.setup=['echo  a b']")
    words = (*words, "::eval::", *QUICK_EVAL, "cluster.time=5")
    without = Workplace(tmp_path, Path(place.env["AUTOCAST_DATASETS"]) / "waves", place.commands)
    del without.env["SLURM_CONF"]
    without.env["PATH"] = str(tmp_path / "nothing")
    before = tree(tmp_path)
    printed = place.run(f"{line} --dry-run", *words)
    told = json.loads(without.run(f"{line} --dry-run --json", *words))
    assert tree(tmp_path) == before
    assert any("there is no scontrol" in check for check in told["stages"][0]["not_checked"])

    place.run(line, *words)
    train, evaluation = Stage(place, "epd", "train"), Stage(place, "epd", "eval")
    for stage, job in zip((train, evaluation), told["jobs"], strict=True):
        script = slurm.batch_script(stage.job_id)
        expected = re.sub(r"(?m)^(#SBATCH --comment=autocast:)\w+:(\w+):\w+$", r"\1<uid>:\2:<nonce>", script)
        expected = expected.replace(f"=afterok:{train.job_id}\n", "=afterok:<id of train>\n")
        assert job["text"] == expected
        assert f"\n{expected}" in printed
    assert told["jobs"][1]["dependency"] == "afterok:<id of train>"
    assert f"afterok:{train.job_id}" in slurm.job(evaluation.job_id)["Dependency"]


def test_everything_that_is_wrong_is_refused_together(place: Workplace, slurm: Cluster, tmp_path: Path):
    wrong = ("cluster.time=60", "cluster.memory=64G", "cluster.gpus_per_node=3", "cluster.tasks_per_node=9")
    line = DETACHED.replace("waves", "nowhere")
    said = place.run(f"train-eval {line}", *SMALL, "cluster.partition=short", *wrong, code=2)
    for subject in (*wrong, "--dataset nowhere"):
        assert re.search(rf"^ *{re.escape(subject)} ", said, re.MULTILINE), subject
    assert "nothing was started" in said
    said = place.run(f"train-eval {DETACHED}", *SMALL, "cluster.partition=shrot", *wrong, code=2)
    assert "cluster.partition=shrot" in said
    assert "Did you mean short?" in said
    assert all(name in said for name in ("main (default)", "short (up to 00:05:00)", "preempt", "high"))
    assert "not checked: time, nodes, memory, GPUs, tasks and CPUs" in said
    assert not tree(tmp_path)
    assert not slurm.jobs_below(tmp_path)


def test_a_scheduler_that_is_out_of_reach_is_told_before_anything_is_written(
    place: Workplace, slurm: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    settings = re.sub(r"(?m)^SlurmctldPort=.*$", "SlurmctldPort=1\nMessageTimeout=1", slurm.conf.read_text())
    place.env["SLURM_CONF"] = str(tmp_path_factory.mktemp("deaf") / "slurm.conf")
    Path(place.env["SLURM_CONF"]).write_text(settings)
    assert "cannot be reached" in place.run(f"epd {DETACHED}", *SMALL, code=3)
    assert not tree(tmp_path)


@pytest.mark.parametrize(("trace", "code", "state"), [({}, 0, "done"), ({"fail_at": 1}, 1, "failed")])
def test_a_command_follows_its_job_and_ends_as_it_does(
    trace: dict[str, Any], code: int, state: str, place: Workplace, slurm: Cluster
):
    spelt = ",".join(
        f"{key}:{value}" for key, value in {"_target_": "tracing.Trace", "file": place.path / "trace", **trace}.items()
    )
    said = place.run(f"epd {FOLLOWED}", *ONE_EPOCH, f"+callbacks.trace={{{spelt}}}", code=code)
    train = Stage(place, "epd", "train")
    lines = said.splitlines()
    assert f"=== autocast epd train attempt 1 job {train.job_id} " in said
    assert lines.index("epd train  running") < next(
        i for i, line in enumerate(lines) if line.startswith(f"epd train  {state}")
    )
    if code:
        assert "the trace was told to fail here" in said
        assert "autocast why" in said
    else:
        assert "epoch 1/1" in said
    assert train.is_done == (code == 0)
    assert place.states() == {"train": state}


def test_an_interrupt_ends_the_following_and_not_the_job(place: Workplace, slurm: Cluster):
    words = (sys.executable, "-m", "autocast", "epd", *FOLLOWED.split(), *ONE_EPOCH, HELD)
    with subprocess.Popen(
        words, cwd=place.path, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        while "held" not in (line := command.stdout.readline()):
            assert line, "it ended"
        command.send_signal(signal.SIGINT)
        said = "".join(command.communicate(timeout=PATIENCE))
    assert command.returncode == 130
    assert "autocast status outputs/rd/00 --watch" in said
    assert "autocast cancel outputs/rd/00" in said
    assert "Traceback" not in said
    assert slurm.job(Stage(place, "epd", "train").job_id)["JobState"] == "PENDING"
    assert place.states() == {"train": "pending"}


def test_jobs_and_runs_are_waited_for_unless_they_failed(place: Workplace, slurm: Cluster, tmp_path: Path):
    job = slurm.submit("true", "--hold", cwd=tmp_path)
    failed = slurm.submit("exit 3", cwd=tmp_path)
    over = slurm.submit("true", cwd=tmp_path)
    place.run(f"epd {DETACHED}", *ONE_EPOCH, HELD)
    place.run(f"epd {DETACHED.replace('00', '01')}", *ONE_EPOCH, "cluster.setup=['exit 3']")
    held, broken = Stage(place, "epd", "train"), Stage(place, "epd", "train", "rd/01")
    for ended in (failed, over, broken.job_id):
        slurm.wait_for(ended)

    again = f"epd {DETACHED.replace('00', '02')}"
    place.run(again, *ONE_EPOCH, f"--after={job}", f"--after={over}", "--after", "rd/00")
    waiting = Stage(place, "epd", "train", "rd/02")
    assert sorted(waiting.said("submitted")[0]["dependency"]) == sorted([job, held.job_id])
    dependency = slurm.job(waiting.job_id)["Dependency"]
    assert sorted(re.findall(r"afterok:(\d+)", dependency)) == sorted([job, held.job_id])
    assert place.states("rd/02") == {"train": "waiting"}

    again = f"epd {DETACHED.replace('00', '03')}"
    assert "does not know this job" in place.run(again, *SMALL, "--after=99999999", code=78)
    assert "FAILED" in place.run(again, *SMALL, f"--after={failed}", code=78)
    assert "its epd train is failed" in place.run(again, *SMALL, "--after=rd/01", code=78)
    assert not (tmp_path / "outputs/rd/03").exists()


def test_where_requeue_is_forbidden_resume_sends_a_stopped_chain_again(place: Workplace, slurm: Cluster):
    train = place.train(
        "train-eval", "trainer.max_epochs=2", "cluster.requeue=false", "cluster.kill_on_invalid_dependency=false",
        "::eval::", *QUICK_EVAL,
    )  # fmt: skip
    evaluation = Stage(place, "epd", "eval")
    first = train.job_id, evaluation.job_id
    train.wait_for_steps(2)
    slurm.run("scancel", "--signal=TERM", train.job_id)
    job = slurm.wait_for(train.job_id, timeout=PATIENCE)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "75:0")
    assert slurm.wait_for(evaluation.job_id)["JobState"] == "CANCELLED"
    assert place.states() == {"train": "stopped", "eval": "cancelled"}
    place.slow.unlink()
    place.run("resume rd/00 --detach")
    assert not {train.job_id, evaluation.job_id} & set(first)
    slurm.wait_for(evaluation.job_id, timeout=PATIENCE)
    assert train.is_done
    assert evaluation.is_done
    assert [step["step"] for step in place.steps()] == list(range(1, 17))


@pytest.mark.parametrize(
    ("steps", "most", "kill", "said"),
    [((0, 0), 20, True, "no further than step 0"), ((0, 0, 0), 3, False, "cluster.max_attempts=3")],
)
def test_a_job_that_gets_nowhere_is_stuck(
    steps: tuple[int, ...], most: int, kill: bool, said: str, place: Workplace, slurm: Cluster
):
    chain = (
        HELD,
        f"cluster.max_attempts={most}",
        f"cluster.kill_on_invalid_dependency={kill}",
        "::eval::",
        "cluster.options.hold=false",
    )
    place.run(f"train-eval {DETACHED}", *ONE_EPOCH, *chain)
    train, evaluation = Stage(place, "epd", "train"), Stage(place, "epd", "eval")
    for n, step in enumerate(steps):  # what a node writes that dies each time
        attempt = {"attempt": n + 1, "step": step, "job_id": train.job_id, "restarts": n, "start_id": f"before.{n}"}
        append_event(train.run.events_file("epd", "train"), "started", **attempt, **this_process())
    slurm.run("scontrol", "release", train.job_id)
    job = slurm.wait_for(train.job_id, timeout=PATIENCE)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "1:0")
    assert said in train.said("stuck")[0]["message"]
    assert slurm.wait_for(evaluation.job_id)["JobState"] == "CANCELLED"
    assert place.states() == {"train": "stuck", "eval": "cancelled"}


def test_status_adopts_the_job_of_a_command_that_was_killed(place: Workplace, slurm: Cluster):
    sbatch_that(place, 'sbatch "$@" > /dev/null; kill -9 $PPID')
    place.run(f"epd {DETACHED}", *ONE_EPOCH, code=-9)
    train = Stage(place, "epd", "train")
    assert train.events[-1]["event"] == "submitting"
    assert place.states()["train"] in ("running", "pending")
    assert train.said("submitted")[0]["adopted"]
    assert jobs_of(train, slurm) == [train.job_id]
    assert slurm.wait_for(train.job_id, timeout=PATIENCE)["JobState"] == "COMPLETED"
    assert train.is_done


def test_the_same_command_does_not_send_a_second_job_after_it_was_killed(place: Workplace, slurm: Cluster):
    sbatch_that(place, 'sbatch "$@" > /dev/null; kill -9 $PPID')
    place.run(f"epd {DETACHED}", *ONE_EPOCH, HELD, code=-9)
    train = Stage(place, "epd", "train")
    said = place.run(f"epd {DETACHED}", *ONE_EPOCH, HELD, code=2)
    assert train.said("submitted")[0]["adopted"]
    assert jobs_of(train, slurm) == [train.job_id]
    assert train.job_id in said


def test_a_chain_is_sent_whole_or_not_at_all(place: Workplace, slurm: Cluster, tmp_path: Path):
    sbatch_that(
        place, f'echo >> calls; [[ $(wc -l < calls) == 2 ]] || {{ sbatch "$@"; exit; }}; echo "{REFUSED}" >&2; exit 1'
    )
    words = (*ONE_EPOCH, HELD, "::eval::", *QUICK_EVAL)
    said = place.run(f"train-eval {DETACHED}", *words, code=5)
    assert "Requested node configuration is not available" in said
    train, evaluation = Stage(place, "epd", "train"), Stage(place, "epd", "eval")
    refused = train.job_id
    assert slurm.job(refused)["JobState"] == "CANCELLED"
    assert train.said("aborted")
    assert place.states() == {"train": "aborted", "eval": "aborted"}
    assert not slurm.jobs_below(tmp_path)
    place.run(f"train-eval {DETACHED}", *words)
    assert train.job_id != refused
    assert sorted(slurm.jobs_below(tmp_path)) == sorted([train.job_id, evaluation.job_id])
    assert evaluation.said("submitted")[-1]["dependency"] == [train.job_id]
    assert not [file.name for file in train.run.logs_dir("epd").glob(".*")]


def test_jobs_that_were_accepted_unheard_are_there_once(place: Workplace, slurm: Cluster, tmp_path: Path):
    sbatch_that(place, f'sbatch "$@" > /dev/null; echo "{TIMED_OUT}" >&2; exit 1')
    place.run(f"train-eval {DETACHED}", *ONE_EPOCH, HELD, "::eval::", *QUICK_EVAL)
    train, evaluation = Stage(place, "epd", "train"), Stage(place, "epd", "eval")
    for stage in (train, evaluation):
        assert stage.said("submitted")[0]["adopted"]
        assert jobs_of(stage, slurm) == [stage.job_id]
    assert evaluation.said("submitted")[0]["dependency"] == [train.job_id]
    assert sorted(slurm.jobs_below(tmp_path)) == sorted([train.job_id, evaluation.job_id])


def test_the_plain_scripts_run_to_their_end(place: Workplace, slurm: Cluster, tmp_path: Path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "reaction_diffusion").symlink_to(Path(place.env["AUTOCAST_DATASETS"]) / "waves")
    environ = {**place.env, "PATH": f"{place.commands}:{place.env['PATH']}"}
    del environ["AUTOCAST_DATASETS"]
    jobs = {}
    for name in ("train-eval.sh", "encoder-processor-decoder-parameter_sweep.sh"):
        script = tmp_path / name
        text = (TEMPLATES / name).read_text()
        script.write_text(text.replace("evaluation=(\n", f"evaluation=(\n    {' '.join(QUICK_EVAL)}\n"))
        done = subprocess.run(
            ["sbatch", "--parsable", name, *ONE_EPOCH],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        jobs[name.partition(".")[0]] = done.stdout.strip()
    both, sweep = jobs.values()
    for job in (both, *(f"{sweep}_{n}" for n in range(4))):
        state = slurm.wait_for(job, timeout=PATIENCE)["JobState"]
        assert state == "COMPLETED", "\n".join(log.read_text()[-2000:] for log in tmp_path.glob("*.log"))
    trained = sorted(file.parent.name for file in (tmp_path / f"outputs/epd-sweep_{sweep}").glob("*/*.ckpt"))
    assert trained == ["lr1e-3_batch16", "lr1e-3_batch32", "lr3e-4_batch16", "lr3e-4_batch32"]
    assert (tmp_path / f"outputs/train-eval_{both}/eval/metrics.csv").is_file()


def test_a_job_that_went_back_into_the_queue_is_told(place: Workplace, slurm: Cluster):
    train = place.train("epd")
    train.wait_for("started")
    slurm.run("scontrol", "requeue", train.job_id)
    wait_until(lambda: slurm.job(train.job_id)["JobState"] == "PENDING", "the queue", train)
    assert place.states() == {"train": "requeued"}
    assert "requeued" in place.run("status rd/00")
    place.run("cancel rd/00")
    assert place.states() == {"train": "cancelled"}


@pytest.mark.parametrize(
    ("fixture", "names"), [("slurm", ("failed", "cancelled")), ("slurm_accounting", ("done", "failed", "cancelled"))]
)
def test_states_are_the_same_with_and_without_accounting(
    fixture: str,
    names: tuple[str, ...],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    waves: Path,
    commands: Path,
):
    cluster: Cluster = request.getfixturevalue(fixture)
    place = Workplace(tmp_path, waves, commands)
    words = {"done": (), "failed": ("cluster.setup=['exit 3']",), "cancelled": (HELD,)}
    jobs = {}
    for name in names:
        place.run(f"epd {DETACHED.replace('00', name)}", *ONE_EPOCH, *words[name])
        jobs[name] = Stage(place, "epd", "train", f"rd/{name}").job_id
    cluster.run("scancel", jobs["cancelled"])
    for job_id in jobs.values():
        cluster.wait_for(job_id, timeout=PATIENCE)
    assert {name: place.states(f"rd/{name}")["train"] for name in names} == {name: name for name in names}
    if fixture == "slurm_accounting":
        forget(place, cluster, jobs["failed"], jobs["cancelled"])
        assert {name: place.states(f"rd/{name}")["train"] for name in names} == {name: name for name in names}


def forget(place: Workplace, cluster: Cluster, *job_ids: str) -> None:
    """Lets a place find a squeue that knows no job, as after hours; and waits until the accounting has caught up."""
    wait_until(lambda: all(_accounted(cluster, job_id) in ("FAILED", "CANCELLED") for job_id in job_ids), "sacct")
    folder = place.path / "bin"
    folder.mkdir()
    (folder / "squeue").write_text("#!/bin/bash\n")
    (folder / "squeue").chmod(0o755)
    place.env["PATH"] = f"{folder}{os.pathsep}{place.env['PATH']}"


def _accounted(cluster: Cluster, job_id: str) -> str:
    said = cluster.run(
        "sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job_id}"
    ).stdout
    return said.split()[0] if said.split() else ""
