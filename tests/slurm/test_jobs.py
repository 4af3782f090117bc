"""Jobs on a real cluster: chains, restarts of every kind, cancellations, and trainings over two nodes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from autocast.runs.directory import RunDirectory
from autocast.runs.events import is_alive
from tests.slurm.cluster import Cluster
from tests.slurm.workplace import PATIENCE, QUICK_EVAL, SMALL, Stage, Workplace, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def failing() -> list[Stage]:
    """A training that its controller will have forgotten by the time that the last test asks for it."""
    return []


@pytest.fixture(autouse=True)
def _early(
    failing: list[Stage],
    forgetful_slurm_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    waves: Path,
    commands: Path,
) -> None:
    """It goes first, whichever test does."""
    if not failing:
        place = Workplace(tmp_path_factory.mktemp("failing"), waves, commands)
        place.env |= {name: forgetful_slurm_cluster.env[name] for name in ("SLURM_CONF", "PATH")}
        failing.append(place.train("epd", fail_at=1, slow=0.0))


def test_one_allocation_runs_both_stages(place: Workplace, slurm: Cluster):
    place.run(
        "train-eval --mode slurm --detach --single-allocation --dataset waves --date rd --run-name 00",
        "trainer.max_epochs=1", *SMALL, "::eval::", *QUICK_EVAL,
    )  # fmt: skip
    train, evaluation = Stage(place, "epd", "train"), Stage(place, "epd", "eval")
    assert train.job_id == evaluation.job_id
    assert slurm.wait_for(train.job_id, timeout=PATIENCE)["JobState"] == "COMPLETED"
    assert train.is_done
    assert evaluation.is_done


def test_a_training_survives_preemption_time_limit_and_term_without_a_gap_or_a_repeat(place: Workplace, slurm: Cluster):
    train = place.train(
        "train-eval", "trainer.max_epochs=25", "cluster.time=10", "cluster.signal_delay=100",
        "cluster.partition=preempt", "+cluster.options.exclusive=true",
        "::eval::", *QUICK_EVAL, "cluster.partition=main", slow=0.4,
    )  # fmt: skip
    evaluation = Stage(place, "epd", "eval")
    train.wait_for_steps(3)
    intruder = slurm.submit("sleep 1", "--partition=high", "--exclusive", cwd=place.path)
    train.wait_for("stopped", 1)
    slurm.wait_for(intruder, timeout=PATIENCE)
    slurm.start_again(train.job_id, 1)
    train.wait_for("resumed", 1)
    train.wait_for_steps(len(place.steps()) + 3)
    slurm.update(train.job_id, EndTime="now+120")  # SLURM looks twice a minute, and warns 30 s too early
    train.wait_for("stopped", 2)
    slurm.start_again(train.job_id, 2, TimeLimit="10")
    train.wait_for("resumed", 2)
    train.wait_for_steps(len(place.steps()) + 3)
    slurm.run("scancel", "--signal=TERM", train.job_id)
    train.wait_for("stopped", 3)
    slurm.start_again(train.job_id, 3)
    train.wait_for("started", 4)
    place.slow.unlink()
    slurm.wait_for(evaluation.job_id, timeout=PATIENCE)
    assert train.is_done, train.events
    assert [event["reason"] for event in train.said("stopped")] == ["SIGTERM", "SIGUSR2", "SIGTERM"]
    assert [event["event"] for event in train.events if event["event"] in ("left", "requeued")] == [
        "left", "requeued", "requeued",
    ]  # fmt: skip
    assert {event["job_id"] for event in train.said("started")} == {train.job_id}
    steps = place.steps()
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == 8 * 25
    for epoch in range(25):
        windows = [tuple(w) for step in steps if step["epoch"] == epoch for w in step["windows"]]
        assert len(set(windows)) == len(windows) == 32
    assert len(evaluation.said("started")) == 1
    assert evaluation.is_done


def test_a_killed_training_is_told_and_resumed(place: Workplace, slurm: Cluster):
    stays = "cluster.kill_on_invalid_dependency=false"
    train = place.train("train-eval", "trainer.max_epochs=3", stays, "::eval::", *QUICK_EVAL)
    doomed = Stage(place, "epd", "eval").job_id
    train.wait_for("checkpoint")
    os.kill(train.said("started")[0]["pid"], signal.SIGKILL)
    slurm.wait_for(train.job_id, timeout=PATIENCE)
    told = json.loads(place.run("status rd/00 --json"))
    states = {stage["stage"]: stage["state"] for stage in told["stages"]}
    assert states["train"] == "failed"
    assert "killed" in place.run("why rd/00").lower()
    place.slow.unlink()
    assert "nothing was started" in place.run("resume rd/00 --detach --dry-run")
    assert slurm.job(doomed)["JobState"] == "PENDING"
    place.run("resume rd/00 --detach")
    assert slurm.job(doomed)["JobState"] == "CANCELLED"
    evaluation = Stage(place, "epd", "eval")
    assert len(train.said("submitted")) == 2
    assert evaluation.said("submitted")[-1]["dependency"] == [train.job_id]
    slurm.wait_for(evaluation.job_id, timeout=PATIENCE)
    assert train.said("resumed")[-1]["step"] > 0
    assert train.said("finished")[0]["time"] < evaluation.said("started")[0]["time"]
    assert evaluation.is_done
    known, made = evaluation.run.run_record("epd", "eval"), train.run.done_record("epd", "train")
    assert known["parents"][0]["sha256"] == made["products"]["encoder_processor_decoder.ckpt"]["sha256"]
    assert known["parents"][0]["uid"] == train.run.run_record("epd", "train")["uid"]


def test_a_cancelled_training_never_comes_back(place: Workplace, slurm: Cluster):
    ways = ("rd/scancel", "rd/autocast")
    trainings = [place.train("train-eval", "trainer.max_epochs=50", "::eval::", *QUICK_EVAL, run=run) for run in ways]
    evaluations = [Stage(place, "epd", "eval", run) for run in ways]
    for train in trainings:
        train.wait_for("checkpoint")
    slurm.run("scancel", trainings[0].job_id)
    assert trainings[1].job_id in place.run("cancel rd/autocast")
    assert "nothing to cancel" in place.run("cancel rd/autocast")
    for stage in (*trainings, *evaluations):
        assert slurm.wait_for(stage.job_id, timeout=PATIENCE)["JobState"] == "CANCELLED"
    processes = [train.said("started")[0] for train in trainings]
    wait_until(lambda: not any(map(is_alive, processes)), "the end of who could still requeue them", trainings[0])
    for run, train, evaluation in zip(ways, trainings, evaluations, strict=True):
        assert train.said("stopped")[0]["code"] == 75
        assert place.states(run) == {"train": "cancelled", "eval": "cancelled"}
        assert slurm.job(train.job_id)["JobState"] == "CANCELLED"
        assert len(train.said("started")) == 1
        assert not evaluation.said("started")


@pytest.mark.parametrize("kill", [True, False])
def test_a_failed_training_leaves_nothing_pending(kill: bool, place: Workplace, slurm: Cluster):
    train = place.train(
        "train-eval", f"cluster.kill_on_invalid_dependency={kill}", "::eval::", *QUICK_EVAL, fail_at=2, slow=0.0
    )
    evaluation = Stage(place, "epd", "eval")
    assert slurm.wait_for(train.job_id, timeout=PATIENCE)["JobState"] == "FAILED"
    assert slurm.wait_for(evaluation.job_id, timeout=PATIENCE)["JobState"] == "CANCELLED"
    assert train.said("failed")[0]["error"] == "RuntimeError"
    why = place.run("why rd/00")
    assert "the trace was told to fail here" in why
    refused = place.run("eval --mode slurm --detach --workdir outputs/rd/00 eval.name=2", code=78)
    assert "its epd train is failed" in refused


def test_an_evaluation_refuses_what_a_training_left_half_done_with_code_0(place: Workplace, slurm: Cluster):
    train = place.train(
        "train-eval", "::eval::", *QUICK_EVAL, "cluster.marker_wait=2", exit_at=9, slow=0.0
    )  # fmt: skip
    evaluation = Stage(place, "epd", "eval")
    assert slurm.wait_for(train.job_id, timeout=PATIENCE)["JobState"] == "COMPLETED"
    job = slurm.wait_for(evaluation.job_id, timeout=PATIENCE)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "78:0")
    assert not train.is_done
    assert evaluation.said("upstream_incomplete")
    states = {s["stage"]: s["state"] for s in json.loads(place.run("status rd/00 --json"))["stages"]}
    assert states["train"] != "done"
    assert states["eval"] == "incomplete"


def test_an_emulator_waits_for_its_autoencoder(place: Workplace, slurm: Cluster):
    place.slow.touch()
    trace = f"+callbacks.trace={{_target_:tracing.Trace,file:{place.path}/trace,slow:{place.slow},seconds:0.2}}"
    place.run("ae --mode slurm --detach --dataset waves --date rd --run-name ae trainer.max_epochs=1", trace)
    place.run(
        "epd --mode slurm --detach --dataset waves --date rd --run-name 00 --autoencoder rd/ae trainer.max_epochs=1",
        *SMALL,
    )
    train = Stage(place, "epd", "train")
    parent = RunDirectory(place.path / "outputs/rd/ae")
    assert (
        train.said("submitted")[0]["dependency"] == [parent.events("ae", "train")[-1].get("job_id", "")]
        or train.said("submitted")[0]["dependency"]
    )
    place.slow.unlink()
    slurm.wait_for(train.job_id, timeout=PATIENCE)
    assert train.is_done, train.events
    record = train.run.run_record("epd", "train")
    assert record["parents"][0]["sha256"] == parent.done_record("ae", "train")["products"]["autoencoder.ckpt"]["sha256"]


@pytest.mark.parametrize(
    "processor", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("direct", "ensemble")), "flow_matching"]
)
def test_two_nodes_train_as_one_process_does(processor: str, place: Workplace, slurm: Cluster):
    words = (
        "datamodule.batch_size=4", "trainer.max_epochs=2", f"model.processor={processor}",
        "model.processor.backbone.width=8", "model.processor.backbone.levels=1", "trainer.accelerator=cpu",
    )  # fmt: skip
    losses = {}
    jobs = {}
    for name, nodes in (("one", 1), ("two", 2)):
        trace = f"+callbacks.trace={{_target_:tracing.Trace,file:{place.path}/{name}}}"
        place.run(
            "epd --mode slurm --detach --dataset waves --date rd --run-name",
            name,
            f"cluster.nodes={nodes}",
            *words,
            trace,
        )
        run = RunDirectory(place.path / "outputs/rd" / name)
        jobs[name] = next(e["job_id"] for e in run.events("epd", "train") if e["event"] == "submitted")
    for name, job_id in jobs.items():
        run = RunDirectory(place.path / "outputs/rd" / name)
        state = slurm.wait_for(job_id, timeout=PATIENCE)["JobState"]
        logs = "\n".join(log.read_text()[-3000:] for log in run.logs_dir("epd").glob("*_log.*"))
        assert state == "COMPLETED", logs
        lines = [json.loads(line) for line in run.metrics_file("epd").read_text().splitlines()]
        losses[name] = [(line["train/loss"], line["val/objective"]) for line in lines]
    for one, two in zip(losses["one"], losses["two"], strict=True):
        assert two == pytest.approx(one, rel=2e-4)
    ranks = [(place.path / f"two.{rank}").read_text().splitlines() for rank in (0, 1)]
    for rows in zip(*ranks, strict=True):
        first, second = map(json.loads, rows)
        assert not {*map(tuple, first["windows"])} & {*map(tuple, second["windows"])}


def test_two_nodes_that_are_stopped_go_on_where_they_were(place: Workplace, slurm: Cluster):
    train = place.train(
        "epd", "trainer.max_epochs=3", "cluster.nodes=2", "trainer.accelerator=cpu", slow=0.3
    )  # fmt: skip
    train.wait_for_steps(3)
    slurm.run("scancel", "--signal=TERM", train.job_id)
    slurm.start_again(train.job_id, 1)
    train.wait_for("started", 2)
    place.slow.unlink()
    slurm.wait_for(train.job_id, timeout=PATIENCE)
    assert train.is_done, train.events
    for rank in (0, 1):
        assert [step["step"] for step in place.steps(rank)] == list(range(1, 25))
    for epoch in range(3):
        both = [step for rank in (0, 1) for step in place.steps(rank) if step["epoch"] == epoch]
        windows = [tuple(w) for step in both for w in step["windows"]]
        assert len(set(windows)) == len(windows) == 32


def test_an_autoencoder_its_cache_and_a_processor_of_that_are_a_chain(place: Workplace, slurm: Cluster):
    """Three commands at once: each job finds what the one before has made, and knows it by its content."""
    tiny = ("model.encoder.widths=[4]", "model.encoder.blocks=[1]", "model.encoder.latent_channels=2")
    line = "--mode slurm --detach --date rd --run-name"
    place.run(f"ae {line} 00 --dataset waves", "trainer.max_epochs=1", *tiny, "cluster.options.hold=true")
    place.run("cache-latents --mode slurm --detach --autoencoder rd/00")
    ae = Stage(place, "ae", "train")
    (name,) = [stage for stage in ae.run.stages("ae") if stage != "train"]
    place.run(f"processor {line} 01 --autoencoder rd/00", "trainer.max_epochs=1", *SMALL)
    cache, processor = Stage(place, "ae", name), Stage(place, "processor", "train", "rd/01")
    assert cache.said("submitted")[-1]["dependency"] == [ae.job_id]
    assert set(processor.said("submitted")[-1]["dependency"]) == {ae.job_id, cache.job_id}
    assert place.states() == {"train": "pending", name: "waiting"}
    slurm.run("scontrol", "release", ae.job_id)
    slurm.wait_for(processor.job_id, timeout=PATIENCE)
    assert all(stage.is_done for stage in (ae, cache, processor)), processor.events
    known = {parent["role"]: parent["sha256"] for parent in processor.run.run_record("processor", "train")["parents"]}
    manifest = json.loads((ae.run.stage_dir(name) / "manifest.json").read_text())
    assert known["autoencoder_checkpoint"] == manifest["checkpoint_sha256"]
    assert "holds a finished cache" in place.run("cache-latents --mode slurm --autoencoder rd/00")


def test_a_parent_that_failed_and_was_forgotten_is_refused(forgetful_slurm: Cluster, failing: list[Stage]):
    (train,) = failing
    place = train.place
    forgetful_slurm.wait_forgotten(train.job_id)
    assert "is failed" in place.run("eval --mode slurm --detach --workdir outputs/rd/00", code=78)
    after = "epd --mode slurm --detach --dataset waves --date rd --run-name 01"
    assert "does not know this job" in place.run(after, f"--after={train.job_id}", code=78)
    assert not (place.path / "outputs/rd/01").exists()
