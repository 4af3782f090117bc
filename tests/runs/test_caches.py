"""Latents are cached once, found again by what they are of, and trained on; all configs here are real ones."""

from __future__ import annotations

import dataclasses
import json
import shlex
import types
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs import freeze as freezing
from autocast.runs import launch
from autocast.runs.caches import processor_command
from autocast.runs.compose import compose
from autocast.runs.composer import Composer
from autocast.runs.decision import CONTINUE, NOTHING, REPLACE
from autocast.runs.directory import DONE, UNFINISHED, RunDirectory, find_run
from autocast.runs.events import append_event
from autocast.runs.exits import DONE as GOOD
from autocast.runs.exits import RESUMES, UPSTREAM, USAGE
from autocast.runs.identity import fingerprint, sha256
from autocast.runs.job import Job, Outcome
from autocast.runs.launch import own_checker, run
from autocast.runs.overrides import Typed
from autocast.runs.parents import Parent
from autocast.runs.place import Place
from autocast.runs.plan import Plan, Preparation, prepare
from autocast.runs.problems import Problem
from autocast.runs.request import SLURM, Request
from autocast.runs.resume import prepare_again, resume
from autocast.runs.upstream import jobs_of_parents
from autocast.runs.watch.stages import Stage, stages_of
from autocast.signals import StoppedError
from tests.runs.plans import Jobs, trained
from tests.runs.test_launch import check_cluster, evaluate, train, workflows  # noqa: F401 - a fixture

COMPOSED = Composer._hydra
AE = RunDirectory(Path("outputs/rd/ae"))
P = RunDirectory(Path("outputs/rd/p"))


def encode(job: Job) -> Outcome:
    """Leaves what a cache leaves."""
    directory = Path(job.config["latents"])
    assert directory.is_dir()
    manifest = directory / "manifest.json"
    manifest.write_text(json.dumps({"dtype": job.config["dtype"], "of": job.config["autoencoder_checkpoint"]}))
    return Outcome({}, [], "", [manifest])


def stopped(job: Job) -> Outcome:
    raise StoppedError("SIGUSR2")


def compatible(
    config: dict[str, Any], request: Request, place: Place, eval_config: dict[str, Any] | None
) -> tuple[list[Problem], list[str]]:
    return [], []


@cache
def from_files(name: str | None, choices: tuple[Typed, ...]) -> Any:
    return COMPOSED(Composer.of(str(name)), name, choices)


@cache
def config_of_the_autoencoder() -> str:
    return yaml.safe_dump(OmegaConf.to_container(compose(Request("ae")).config))


@pytest.fixture(autouse=True)
def ends(workflows: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:  # noqa: F811
    """`ends(cache_latents=stopped)`: how stages end from now on. There is a data set, and an autoencoder of it."""
    vars(workflows).update(preflight=compatible, cache_latents=encode, train_processor=train)
    monkeypatch.setattr(launch, "_check_cluster", check_cluster)
    monkeypatch.setattr(freezing, "provenance", lambda: {"user_targets": ""})
    monkeypatch.setattr(Composer, "_hydra", lambda _, name, choices: deepcopy(from_files(name, tuple(choices))))
    Path("datasets/reaction_diffusion").mkdir(parents=True)
    trained(AE.path, {"event": "launched"}, kind="ae")
    AE.config_file("ae").write_text(config_of_the_autoencoder())
    AE.run_file("ae", "train").write_text(json.dumps({"uid": "cafe0001", "user_targets": "", "parents": []}))
    return lambda **functions: vars(workflows).update(functions)


def make(*words: str, **flags: Any) -> int:
    return run(Request("cache-latents", words, autoencoder="rd/ae", **flags))


def prepared(command: str, *words: str, **flags: Any) -> Preparation:
    return prepare(Request(command, words, **{"autoencoder": "rd/ae", **flags}), own_checker())


def planned(command: str, *words: str, **flags: Any) -> Plan:
    preparation = prepared(command, *words, **flags)
    assert not preparation.problems
    return preparation.plans[0]


def told(command: str, *words: str, **flags: Any) -> str:
    (problem,) = prepared(command, *words, **flags).problems
    return f"{problem.subject}: {problem.message}"


def latents(run: RunDirectory = AE) -> list[str]:
    """The caches of a run."""
    return [stage for stage in run.stages("ae") if stage != "train"]


def reweight(run: RunDirectory = AE) -> None:
    """The training went on: the checkpoint is another one."""
    file = run.checkpoint_file("ae")
    file.write_text("better weights")
    record = run.done_record("ae", "train") or {}
    record["products"] = {file.name: fingerprint(file)}
    run.done_file("ae", "train").write_text(json.dumps(record))


def submitted(stage: str) -> None:
    """Now the training is job 40, and a cache job 41, which waits for it."""
    for name, job_id, dependency in (("train", "40", []), (stage, "41", ["40"])):
        append_event(AE.events_file("ae", name), "submitted", job_id=job_id, dependency=dependency, comment="c")


def test_a_cache_is_a_stage_of_the_autoencoder(capsys: pytest.CaptureFixture[str]):
    assert make("dtype=float16") == GOOD
    (stage,) = latents()
    directory = AE.path / "ae" / "latents" / stage.removeprefix("latents-")
    assert (directory / "manifest.json").is_file()
    config = yaml.safe_load((directory / "config.yaml").read_text())
    assert (config["latents"], config["dtype"]) == (str(directory), "float16")
    record = AE.run_record("ae", stage)
    assert (record["workflow"], record["kind"]) == ("cache_latents", "ae")
    assert record["data_digest"] == "digest of datasets/reaction_diffusion"
    assert [(p["role"], p["sha256"]) for p in record["parents"]] == [
        ("autoencoder_checkpoint", sha256(AE.checkpoint_file("ae")))
    ]
    assert AE.state("ae", stage) == DONE
    assert [event["event"] for event in AE.events("ae", stage)] == ["launched", "started", "finished"]
    assert find_run(record["uid"], Path("outputs")) == AE


def test_a_cache_that_is_there_is_found_and_other_ones_are_added(capsys: pytest.CaptureFixture[str]):
    assert make() == GOOD
    record = AE.run_record("ae", latents()[0])
    capsys.readouterr()
    assert make("batch_size=7") == GOOD
    said = capsys.readouterr().out
    assert "outputs/rd/ae holds a finished cache of these latents, ae/latents/" in said
    assert "autocast processor --autoencoder outputs/rd/ae" in said
    assert AE.run_record("ae", latents()[0]) == record
    assert make("dtype=bfloat16") == GOOD
    Path("datasets/waves").mkdir()
    assert make(dataset="waves") == GOOD
    reweight()
    assert make() == GOOD
    assert len(latents()) == 4


@pytest.mark.parametrize(
    ("words", "flags", "named"),
    [
        ((), {}, ""),
        (("dtype=bfloat16",), {}, "latents="),
        ((), {"dataset": "waves"}, "--dataset"),
        ((), {"workdir": Path("outputs/rd/caches")}, "latents="),
    ],
)
def test_the_command_that_is_told_trains_on_the_cache_that_was_made(
    words: tuple[str, ...], flags: dict[str, Any], named: str
):
    Path("datasets/waves").mkdir()
    assert make() == GOOD
    assert make(*words, **flags) == GOOD
    config = planned("cache-latents", *words, **flags).config
    told = shlex.split(processor_command(config))
    assert told[:4] == ["autocast", "processor", "--autoencoder", "outputs/rd/ae"]
    more = told[4:]
    assert [word for word in more if named and word.startswith(named)] == more[:1]
    dataset = more[1] if more[:1] == ["--dataset"] else None
    overrides = [word for word in more if word.startswith("latents=")]
    plan = planned("processor", *overrides, autoencoder=told[3], dataset=dataset)
    assert Path(plan.config["latents"]) == Path(config["latents"])
    assert Path(plan.config["datamodule"]["data_path"]) == Path(config["datamodule"]["data_path"])


def test_replacing_an_autoencoder_names_the_caches_that_go_with_it():
    assert make() == GOOD
    assert make("dtype=float16") == GOOD
    request = {"workdir": AE.path, "autoencoder": None}
    assert "it is replaced, and 2 caches of latents in it" in planned("ae", overwrite=True, **request).decision.message
    submitted(latents()[0])
    AE.done_file("ae", latents()[0]).unlink()
    refused = planned("ae", overwrite=True, **request).decision
    assert refused.exit_code == USAGE
    assert latents()[0].removeprefix("latents-") in refused.message


def test_a_cache_is_replaced_when_it_is_asked_for_or_gone():
    assert make() == GOOD
    assert planned("cache-latents").decision.action == NOTHING
    assert planned("cache-latents", overwrite=True).decision.action == REPLACE
    uid = AE.run_record("ae", latents()[0])["uid"]
    for file in AE.stage_dir(latents()[0]).iterdir():
        file.unlink()
    assert make() == GOOD
    assert AE.run_record("ae", latents()[0])["uid"] != uid
    assert len(latents()) == 1


def test_a_cache_that_was_stopped_goes_on(ends: Callable[..., None], capsys: pytest.CaptureFixture[str]):
    """Also at a time limit: what has been encoded is kept, so the job may put itself back into the queue."""
    ends(cache_latents=stopped)
    assert make() == RESUMES
    (stage,) = latents()
    assert AE.state("ae", stage) == UNFINISHED
    uid = AE.run_record("ae", stage)["uid"]
    assert planned("cache-latents").decision.action == CONTINUE
    assert "is not complete" in told("processor")
    ends(cache_latents=encode)
    assert resume("rd/ae", Request("resume", ("batch_size=5",))) == GOOD
    assert (AE.state("ae", stage), AE.run_record("ae", stage)["uid"]) == (DONE, uid)
    assert yaml.safe_load(AE.config_file("ae", stage).read_text())["batch_size"] == 5


def test_a_cache_may_lie_in_a_directory_of_its_own():
    other = RunDirectory(Path("outputs/rd/cache"))
    assert make(workdir=other.path) == GOOD
    (stage,) = latents(other)
    directory = other.stage_dir(stage)
    assert not latents()
    assert find_run("rd/cache", Path("outputs")) == other
    assert [one.stage for one in stages_of(other)] == [stage]
    assert "has no cache of latents" in told("processor")
    plan = planned("processor", f"latents={directory}")
    assert [parent.role for parent in plan.parents] == ["autoencoder_checkpoint", "latents"]
    use = f"autocast processor --autoencoder outputs/rd/ae latents={directory}"
    assert use in planned("cache-latents", workdir=other.path).decision.message


def test_where_a_cache_goes_is_not_typed_but_as_a_run():
    assert "--workdir DIR" in told("cache-latents", "latents=here")
    loose = Path("loose")
    loose.mkdir()
    for file in (AE.config_file("ae"), AE.checkpoint_file("ae")):
        (loose / file.name).write_bytes(file.read_bytes())
    for directory in (loose, *loose.resolve().parents):  # a config alone makes a run of a directory
        assert directory == loose or not RunDirectory(directory).kinds()
    assert planned("cache-latents", autoencoder="loose/autoencoder.ckpt").directory == RunDirectory(loose)


def test_a_processor_trains_on_the_cache_that_fits():
    assert make("dtype=bfloat16") == GOOD
    (half,) = latents()
    assert planned("processor").config["latents"] == str(AE.stage_dir(half))
    assert make() == GOOD
    (whole,) = [stage for stage in latents() if stage != half]
    assert run(Request("processor", autoencoder="rd/ae", workdir=P.path)) == GOOD
    config = yaml.safe_load(P.config_file("processor").read_text())
    assert config["latents"] == str(AE.stage_dir(whole))
    assert config["autoencoder_checkpoint"] == "outputs/rd/ae/autoencoder.ckpt"
    record = P.run_record("processor", "train")
    assert record["workflow"] == "train_processor"
    manifest = AE.stage_dir(whole) / "manifest.json"
    assert [(p["role"], p["stage"], p["sha256"]) for p in record["parents"]] == [
        ("autoencoder_checkpoint", "train", sha256(AE.checkpoint_file("ae"))),
        ("latents", whole, sha256(manifest)),
    ]
    assert planned("processor", workdir=P.path).decision.action == NOTHING
    named = planned("processor", f"latents={AE.stage_dir(half)}")
    assert named.config["latents"] == str(AE.stage_dir(half))
    assert named.signature != record["signature"]


@pytest.mark.parametrize(
    ("words", "flags", "said"),
    [
        ((), {}, "is of another checkpoint"),
        ((), {"dataset": "waves"}, "is of other data"),
        (("dtype=float32",), {}, "no such key"),
    ],
)
def test_a_processor_without_its_cache_is_told_how_to_make_it(words: tuple[str, ...], flags: dict[str, Any], said: str):
    assert "Make one: autocast cache-latents --autoencoder rd/ae;" in told("processor")
    assert make() == GOOD
    Path("datasets/waves").mkdir()
    if "checkpoint" in said:
        reweight()
    found = told("processor", *words, **flags)
    assert said in found
    if "data" in said:
        assert "autocast cache-latents --autoencoder rd/ae --dataset waves;" in found


def test_a_cache_that_changed_under_a_processor_is_refused():
    assert make() == GOOD
    plan = planned("processor", workdir=P.path)
    manifest = AE.stage_dir(latents()[0]) / "manifest.json"
    launch.freeze(plan).drop()
    manifest.write_text("{}")
    assert launch.perform(plan.workflow, plan.directory, plan.stage, launch.Screen.silent()) == UPSTREAM


def test_a_processor_is_continued_with_its_own_cache():
    assert make() == GOOD
    assert run(Request("processor", autoencoder="rd/ae", workdir=P.path)) == GOOD
    reweight()
    longer = planned("processor", "trainer.max_epochs=99", autoencoder=None, resume_from="rd/p")
    assert longer.config["latents"] == yaml.safe_load(P.config_file("processor").read_text())["latents"]
    assert longer.decision.action == "extend"
    Path("elsewhere").mkdir()
    Path("elsewhere/manifest.json").touch()
    other = planned("processor", "latents=elsewhere", autoencoder=None, resume_from="rd/p")
    assert "keeps its latents" in other.decision.message


def test_a_run_that_has_only_a_processor_is_evaluated():
    assert make() == GOOD
    assert run(Request("processor", autoencoder="rd/ae", workdir=P.path)) == GOOD
    for mode in ("local", SLURM):
        plan = planned("eval", autoencoder=None, workdir=P.path, mode=mode)
        assert (plan.kind, plan.stage, plan.workflow) == ("processor", "eval", "evaluate")
    assert run(Request("eval", workdir=P.path)) == GOOD
    P.done_file("processor", "eval").unlink()
    (again,) = prepare_again([Stage(P, "processor", "eval")], Request("resume"), own_checker()).plans
    assert again.config["latents"] == planned("processor").config["latents"]


def test_what_is_still_to_be_made_is_waited_for(job: Callable[..., Any]):
    """An autoencoder in its queue, a cache that waits for it, and a processor that waits for both."""
    AE.done_file("ae", "train").unlink()
    first = planned("cache-latents", mode=SLURM)
    assert [parent.pending for parent in first.parents] == [True]
    launch.freeze(first).drop()
    assert planned("cache-latents", mode=SLURM).stage == first.stage
    plan = planned("processor", mode=SLURM)
    assert [(parent.role, parent.stage, parent.pending) for parent in plan.parents] == [
        ("autoencoder_checkpoint", "train", True),
        ("latents", first.stage, True),
    ]
    submitted(first.stage)
    assert jobs_of_parents(plan.parents, Jobs(job("40", "RUNNING"), job("41", "PENDING"))) == ("40", "41")


def test_a_cache_is_known_by_its_autoencoder_s_weights_once_they_are_there():
    marker = AE.done_file("ae", "train")
    done = marker.read_text()
    marker.unlink()
    plan = planned("cache-latents", mode=SLURM)
    launch.freeze(plan).drop()
    marker.write_text(done)
    assert launch.perform(plan.workflow, plan.directory, plan.stage, launch.Screen.silent()) == GOOD
    assert planned("cache-latents").decision.action == NOTHING
    assert planned("processor").config["latents"] == str(AE.stage_dir(plan.stage))


def test_the_jobs_of_both_are_shown_dry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no scheduler
    assert make(mode=SLURM, dry_run=True, json=True) == GOOD
    said = json.loads(capsys.readouterr().out)
    (script,) = said["jobs"]
    assert script["name"] == f"rd.ae.ae.{said['stage']}"
    assert "--ntasks-per-node=1" in script["text"]
    assert not latents()
    assert make("cluster.nodes=2", mode=SLURM, dry_run=True) == USAGE
    assert "caching latents is one process; this asks for 2" in capsys.readouterr().err
    AE.done_file("ae", "train").unlink()
    launch.freeze(planned("cache-latents", mode=SLURM)).drop()
    (stage,) = latents()
    submitted(stage)
    assert run(Request("processor", autoencoder="rd/ae", mode=SLURM, dry_run=True, json=True)) == GOOD
    (script,) = json.loads(capsys.readouterr().out)["jobs"]
    assert script["dependency"] == f"afterok:<id of rd/ae ae>:<id of rd/ae ae {stage}>"


def test_a_cache_in_a_queue_is_continued_with_the_training_before_it(ends: Callable[..., None]):
    """What waits for a training that is continued takes what that will have made."""
    ends(cache_latents=stopped)
    assert make() == RESUMES
    AE.done_file("ae", "train").unlink()
    train_plan, cache_plan = prepare_again(stages_of(AE), Request("resume", mode=SLURM), own_checker()).plans
    assert (train_plan.kind, train_plan.stage) == ("ae", "train")
    assert [parent.pending for parent in cache_plan.parents] == [True]
    assert dataclasses.replace(cache_plan.parents[0], pending=False) == Parent.of(
        "autoencoder_checkpoint", Path("outputs/rd/ae/autoencoder.ckpt")
    )
