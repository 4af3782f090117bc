"""What becomes of a request: the table of decisions, what is written when, and what a failure leaves."""

from __future__ import annotations

import json
import shlex
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.cli.main import main
from autocast.errors import DataError, LaunchError
from autocast.runs import launch
from autocast.runs.compose import Composition
from autocast.runs.console import Screen
from autocast.runs.directory import DONE, UNFINISHED, NoSuchRunError, RunDirectory, UpstreamError
from autocast.runs.events import append_event, process_start, this_process
from autocast.runs.execution import execute
from autocast.runs.freeze import freeze
from autocast.runs.job import Job, Outcome
from autocast.runs.launch import start
from autocast.runs.overrides import split_eval
from autocast.runs.place import Place, training_place
from autocast.runs.plan import Checker, prepare
from autocast.runs.problems import Problem
from autocast.runs.request import Request

DEFAULTS = {
    "seed": 1,
    "datamodule": {"data_path": "datasets/waves", "n_steps_input": 2, "batch_size": 4},
    "model": {"encoder": {"width": 4}, "processor": {"width": 4}},
    "trainer": {"max_epochs": 3, "devices": 1},
    "optimizer": {"learning_rate": 0.1},
    "eval": {"n_members": 2, "seed": 0, "name": None},
    "autoencoder_checkpoint": None,
}


def overridden(config: dict, words: tuple[str, ...]) -> Composition:
    """A composition that knows values, not options."""
    known = [word for word in words if not word.startswith(("hydra.", "eval.checkpoint"))]
    problems = [Problem(word, "no such key") for word in known if "typo" in word]
    merged = OmegaConf.merge(OmegaConf.create(config), OmegaConf.from_dotlist([w for w in known if "typo" not in w]))
    return Composition(OmegaConf.create(merged), problems)


def compose(request: Request) -> Composition:
    words, after = split_eval(request.overrides)
    composition = overridden(DEFAULTS, words)
    if request.command != "train-eval":
        return composition
    plain = OmegaConf.to_container(composition.config)
    evaluation = overridden(plain, (*after, *request.eval_overrides))
    problems = composition.problems + evaluation.problems
    return Composition(composition.config, problems, eval_config=evaluation.config)


def reopen(request: Request, saved: Path) -> Composition:
    return overridden(yaml.safe_load(saved.read_text()), request.overrides)


def preflight(
    config: dict, request: Request, place: Place, eval_config: dict | None
) -> tuple[list[Problem], list[str]]:
    wrong = [Problem("datamodule.n_steps_input=99", "too long")] if config["datamodule"]["n_steps_input"] == 99 else []
    return wrong, ["the shapes of the data"]


def check_cluster(sections: Sequence[Mapping], request: Request) -> tuple[list[Problem], list[str], list[str]]:
    return [], [], []


def digest(datamodule: Mapping[str, Any]) -> str:
    return f"digest of {datamodule['data_path']}"


CHECKER = Checker(compose, reopen, preflight, lambda root: OmegaConf.create(DEFAULTS), check_cluster, digest)


def train(job: Job) -> Outcome:
    """Writes what a training writes."""
    job.header([("data", "waves")])
    last = job.directory.checkpoints_dir(job.kind) / "last.ckpt"
    last.parent.mkdir(parents=True, exist_ok=True)
    last.write_text(f"after {job.config['trainer']['max_epochs']}, from {job.resume_from}")
    epochs = range(1, job.config["trainer"]["max_epochs"] + 1)
    lines = [json.dumps({"epoch": epoch, "step": 10 * epoch}) + "\n" for epoch in epochs]
    job.directory.metrics_file(job.kind).write_text("".join(lines))
    job.directory.checkpoint_file(job.kind).write_text(f"best of {job.uid}")
    job.record(data={"path": "datasets/waves", "digest": "d1"})
    return Outcome(
        {"objective": 0.5}, [("best epoch", "3")], "autocast eval", [job.directory.checkpoint_file(job.kind)]
    )


def evaluate(job: Job) -> Outcome:
    scores = job.directory.eval_dir(job.stage) / "metrics.csv"
    scores.write_text("crps\n")
    return Outcome({"crps": 0.1}, [], "", [scores])


@pytest.fixture
def workflows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """Stands in for the workflows; the working directory is empty."""
    module = types.ModuleType("autocast.workflows")
    vars(module).update(
        preflight=preflight, data_digest=digest, train_autoencoder=train, train_epd=train, evaluate=evaluate
    )
    monkeypatch.setitem(sys.modules, "autocast.workflows", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCAST_OUTPUTS", raising=False)
    return module


Run = Callable[..., int]


@pytest.fixture
def run(workflows: types.ModuleType) -> Run:
    def started(command: str, *words: str, **flags: object) -> int:
        if command != "eval" and "resume_from" not in flags and "workdir" not in flags:
            flags = {"date": "rd", "run_name": "00", **flags}
        return start(Request(command, words, **flags), CHECKER, Screen(as_json=bool(flags.get("json"))))  # type: ignore[arg-type]

    return started


HERE = RunDirectory(Path("outputs/rd/00"))


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_a_fresh_run_leaves_config_identity_events_and_marker(run: Run):
    assert run("epd", "trainer.max_epochs=5") == 0
    assert yaml.safe_load(HERE.config_file("epd").read_text())["trainer"]["max_epochs"] == 5
    record = HERE.run_record("epd", "train")
    assert record["workflow"] == "train_epd"
    assert record["data"]["digest"] == "d1"
    assert set(record) >= {"uid", "argv", "code", "packages", "device", "seeds", "parents", "signature"}
    assert [event["event"] for event in HERE.events("epd", "train")] == ["launched", "started", "finished"]
    marker = HERE.done_record("epd", "train")
    assert marker is not None
    assert marker["products"]["encoder_processor_decoder.ckpt"]["size"] == HERE.checkpoint_file("epd").stat().st_size


def test_a_named_run_goes_where_dotenv_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The place of a run is found before its config is composed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_OUTPUTS", "restored by the fixture")
    monkeypatch.delenv("AUTOCAST_OUTPUTS")
    (tmp_path / ".env").write_text(f"AUTOCAST_OUTPUTS={tmp_path / 'elsewhere'}\n")
    seen: list[Path] = []
    monkeypatch.setattr(launch, "start", lambda request, *_: seen.append(training_place(request).directory.path) or 0)
    assert launch.run(Request("ae", date="rd", run_name="00")) == 0
    assert seen == [tmp_path / "elsewhere" / "rd" / "00"]


def test_a_failure_is_told_without_secrets(
    run: Run, workflows: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(job: Job) -> Outcome:
        raise RuntimeError("denied to abcdef123456 with api_key: zzz-zzz")

    monkeypatch.setenv("MY_API_TOKEN", "abcdef123456")
    vars(workflows)["train_epd"] = fails
    assert run("epd") == 1
    told = capsys.readouterr().err.partition("RuntimeError: ")[2] + str(HERE.events("epd", "train")[-1])
    assert "denied to *** with api_key: ***" in told
    assert "abcdef123456" not in told


def test_a_name_is_made_where_none_is_given(run: Run):
    assert run("ae", date=None, run_name=None) == 0
    (directory,) = Path("outputs").glob("*/ae_waves_*")
    assert RunDirectory(directory).state("ae") == DONE


def test_a_kind_that_is_not_there_is_added(run: Run):
    assert run("ae") == 0
    assert run("epd") == 0
    assert HERE.kinds() == ["epd", "ae"]


def test_the_same_again_says_what_is_there(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae")
    before = tree()
    assert run("ae", "trainer.devices=2") == 0
    assert tree() == before
    said = capsys.readouterr().out
    assert "outputs/rd/00 holds a finished ae run (3 epochs, just now). Nothing was started." in said
    assert "autocast eval --workdir outputs/rd/00" in said


def test_other_settings_are_refused_with_remedies(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae")
    before = tree()
    assert run("ae", "seed=2") == 2
    assert tree() == before
    said = capsys.readouterr().err
    for remedy in (
        "autocast ae --resume-from outputs/rd/00 trainer.max_epochs=6",
        "--run-name 01",
        "--no-resume",
        "--overwrite",
    ):
        assert remedy in said


def test_every_command_that_is_suggested_can_be_typed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Words as `autocast` reads them, started with the fakes of this module."""
    here = Path("my runs/a b")
    run("ae", workdir=here)
    run("ae", "seed=2", workdir=here)
    run("ae", workdir=here)
    out, err = capsys.readouterr()
    suggested = {
        f"autocast {line.partition(' autocast ')[2]}" for line in (out + err).splitlines() if " autocast " in line
    }
    suggested.discard("autocast eval")  # the fake training's own
    assert len(suggested) == 2
    codes = []
    monkeypatch.setattr(launch, "run", lambda request: codes.append(start(request, CHECKER, Screen())) or codes[-1])
    for command in sorted(suggested):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit):
            main()
    assert codes == [0, 0]


def test_no_resume_goes_beside(run: Run):
    run("ae")
    assert run("ae", "seed=2", no_resume=True) == 0
    assert RunDirectory(Path("outputs/rd/00-2")).state("ae") == DONE
    assert yaml.safe_load(HERE.config_file("ae").read_text())["seed"] == 1


def test_overwrite_replaces_only_the_kinds_own_files(run: Run):
    run("ae")
    run("epd")
    run("eval", workdir=HERE.path)
    ae = HERE.checkpoint_file("ae").read_text()
    uid = HERE.run_record("epd", "train")["uid"]
    assert run("epd", "seed=2", overwrite=True) == 0
    assert HERE.run_record("epd", "train")["uid"] != uid
    assert not HERE.eval_dir().exists()
    assert HERE.checkpoint_file("ae").read_text() == ae


def test_overwrite_with_a_mistake_removes_nothing(run: Run):
    run("ae")
    before = tree()
    assert run("ae", "typo=1", overwrite=True) == 2
    assert tree() == before


def test_resuming_a_finished_run_says_so(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae")
    before = tree()
    assert run("ae", resume_from="rd/00") == 0
    assert run("ae", resume_from="outputs/rd/00/autoencoder.ckpt", workdir=HERE.path) == 0
    assert tree() == before
    assert "finished ae run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "longer", "said"),
    [
        (("trainer.budget=30m",), "trainer.budget=1h", "trainer.budget 30m -> 1h"),
        (("trainer.max_epochs=-1", "trainer.max_steps=70"), "trainer.max_steps=80", "trainer.max_steps 70 -> 80"),
    ],
)
def test_more_time_or_steps_extend_a_finished_run(
    run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], longer: str, said: str
):
    run("ae", *words)
    assert run("ae", *words, longer, resume_from="rd/00") == 0
    assert said in capsys.readouterr().out
    assert run("ae", *words, longer.replace("1h", "20m").replace("80", "60"), resume_from="rd/00") == 0
    assert "Nothing was started." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("trainer.max_epochs=-1", "trainer.max_steps=70"), "trainer.max_steps=140"),
        (("trainer.max_epochs=-1", "trainer.budget=90m"), "trainer.budget=180m"),
        (("trainer.max_epochs=-1",), "trainer.max_epochs=N"),
    ],
)
def test_how_to_train_longer_is_told_in_what_bounds_the_run(
    run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], remedy: str
):
    run("ae", *words)
    assert run("ae", *words) == 0
    assert f"autocast ae --resume-from outputs/rd/00 {remedy}" in capsys.readouterr().out


def test_more_epochs_extend_a_finished_run(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae")
    uid = HERE.run_record("ae", "train")["uid"]
    assert run("ae", "trainer.max_epochs=9", resume_from="rd/00") == 0
    assert "continued from epoch 3, step 30, trainer.max_epochs 3 -> 9" in capsys.readouterr().out
    record = HERE.run_record("ae", "train")
    assert record["uid"] == uid
    assert len(record["continued"]) == 1
    assert record["data"]["digest"] == "d1"
    last = HERE.last_checkpoint("ae")
    assert last is not None
    assert last.read_text() == f"after 9, from {last}"


def test_what_changes_in_a_run_that_goes_on_is_told(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae", "optimizer.learning_rate=1e-3")
    assert run("ae", "trainer.max_epochs=9", "optimizer.learning_rate=5e-4", resume_from="rd/00") == 0
    told = capsys.readouterr().out
    assert "trainer.max_epochs 3 -> 9" in told
    assert "optimizer.learning_rate 0.001 -> 0.0005" in told


@pytest.mark.parametrize(
    "words",
    [
        ("model.encoder.width=8",),
        ("seed=3",),
        ("kl_warmup=5",),
        ("datamodule.n_steps_input=1",),
        ("datamodule.seed=3",),
    ],
)
def test_a_continued_run_keeps_what_its_start_fixed(run: Run, words: tuple[str, ...]):
    run("ae")
    before = tree()
    assert run("ae", *words, "trainer.max_epochs=9", resume_from="rd/00") == 2
    assert tree() == before


@pytest.mark.parametrize("where", [None, Path("elsewhere/a")])
def test_a_continued_run_keeps_its_optimiser(run: Run, capsys: pytest.CaptureFixture[str], where: Path | None):
    """Lightning restores its state, so that a change would be recorded but not used; the rate is the recipe's."""
    run("ae")
    before = tree()
    assert run("ae", "optimizer.algorithm.eps=1", "trainer.max_epochs=9", resume_from="rd/00", workdir=where) == 2
    assert tree() == before
    said = capsys.readouterr().err
    assert "keeps its optimizer.algorithm.eps" in said
    assert "autocast ae --init-from outputs/rd/00" in said
    assert run("ae", "optimizer.learning_rate=1", "trainer.max_epochs=9", resume_from="rd/00", workdir=where) == 0


def test_an_unfinished_run_is_continued_from_its_last_checkpoint(run: Run, workflows: types.ModuleType):
    def killed(job: Job) -> Outcome:
        train(job)
        raise RuntimeError("the node died")

    vars(workflows)["train_autoencoder"] = killed
    assert run("ae") == 1
    assert HERE.state("ae") == UNFINISHED
    before = tree()
    assert run("ae") == 2, "the same settings: it says how to go on"
    assert tree() == before
    vars(workflows)["train_autoencoder"] = train
    assert run("ae", resume_from="auto", workdir=HERE.path) == 0
    assert HERE.state("ae") == DONE
    starts = [event for event in HERE.events("ae", "train") if event["event"] == "started"]
    assert [event["attempt"] for event in starts] == [1, 2]
    assert starts[1]["resume_from"].endswith("last.ckpt")


def test_auto_starts_where_there_is_nothing(run: Run):
    assert run("ae", resume_from="auto", workdir=HERE.path) == 0


def test_continuing_elsewhere_leaves_the_first_run_alone(run: Run):
    run("ae")
    before = tree()
    assert run("ae", "trainer.max_epochs=9", resume_from="rd/00", workdir=Path("elsewhere/a")) == 0
    other = RunDirectory(Path("elsewhere/a"))
    assert {path: content for path, content in tree().items() if path in before} == before
    last = other.last_checkpoint("ae")
    assert last is not None
    assert "outputs/rd/00/ae/checkpoints/last.ckpt" in last.read_text()
    assert other.run_record("ae", "train")["parents"][0]["role"] == "resume_from"


def test_a_run_that_is_at_work_is_left_alone(run: Run):
    run("ae")
    HERE.done_file("ae", "train").unlink()
    init = {**this_process(), "pid": 1, "process_start": process_start(1), "attempt": 2}
    append_event(HERE.events_file("ae", "train"), "started", **init)
    assert run("ae", overwrite=True) == 2
    assert run("ae", resume_from="rd/00") == 2
    assert HERE.checkpoint_file("ae").exists()


def test_what_is_not_there_cannot_be_continued(run: Run):
    run("ae")
    with pytest.raises(NoSuchRunError, match=r"no such run: rd/01\. Did you mean rd/00"):
        run("ae", resume_from="rd/01")
    with pytest.raises(NoSuchRunError, match="no epd run; it has ae"):
        run("epd", resume_from="rd/00")


def test_problems_are_told_together_and_nothing_is_written(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("epd", "typo=1", "trainer.typo=2", after=("7",), single_allocation=True) == 2
    said = capsys.readouterr().err
    assert said.startswith("4 problems, nothing was started:")
    assert "--after" in said
    assert "--single-allocation" in said
    assert "is for --mode slurm" in said
    assert "not checked: the data" in said
    assert tree() == {}


def test_the_preflight_refuses_before_anything_is_written(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("epd", "datamodule.n_steps_input=99") == 2
    assert "too long" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "flags",
    [{"resume_from": "auto", "overwrite": True}, {"no_resume": True, "overwrite": True}, {"mode": "cloud"}],
)
def test_flags_that_make_no_sense_together(run: Run, flags: dict):
    assert run("ae", workdir=HERE.path, **flags) == 2
    assert tree() == {}


@pytest.mark.parametrize("command", ["ae", "epd", "train-eval"])
def test_a_dry_run_writes_nothing(run: Run, command: str, capsys: pytest.CaptureFixture[str]):
    assert run(command, "trainer.max_epochs=7", dry_run=True) == 0
    said = capsys.readouterr().out
    assert "outputs/rd/00" in said
    assert "trainer.max_epochs: 7" in said
    assert "not checked   the shapes of the data" in said
    assert said.endswith("nothing was written, nothing was started\n")
    assert list(Path().iterdir()) == []


def test_a_dry_run_tells_what_differs_and_what_is_gone(workflows: types.ModuleType, capsys: pytest.CaptureFixture[str]):
    def without_encoder(request: Request) -> Composition:
        config = OmegaConf.create(DEFAULTS)
        del config.model.encoder
        return Composition(config, [])

    request = Request("ae", workdir=Path("w"), dry_run=True)
    assert start(request, CHECKER, Screen()) == 0
    assert "config: the defaults\nnothing was written" in capsys.readouterr().out
    checker = replace(CHECKER, compose=without_encoder)
    assert start(request, checker, Screen()) == 0
    assert "\nmodel.encoder   removed\n" in capsys.readouterr().out
    assert start(replace(request, json=True), checker, Screen(as_json=True)) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["changes"], document["removed"]) == ({}, ["model.encoder"])


def test_a_verbose_dry_run_shows_the_whole_config(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae", dry_run=True, verbose=True)
    assert "data_path: datasets/waves" in capsys.readouterr().out


def test_a_dry_run_of_what_would_be_refused_says_so(run: Run, capsys: pytest.CaptureFixture[str]):
    run("ae")
    before = tree()
    assert run("ae", "seed=2", dry_run=True) == 2
    assert "be refused" in capsys.readouterr().out
    assert tree() == before


def test_train_eval_runs_one_after_the_other(run: Run):
    assert run("train-eval", "trainer.max_epochs=1", "::eval::", "eval.n_members=5") == 0
    assert HERE.state("epd") == HERE.state("epd", "eval") == DONE
    assert yaml.safe_load(HERE.config_file("epd", "eval").read_text())["eval"]["n_members"] == 5
    assert yaml.safe_load(HERE.config_file("epd").read_text())["eval"]["n_members"] == 2
    assert run("train-eval", "trainer.max_epochs=1", "::eval::", "eval.n_members=5") == 0


def test_a_failed_training_is_not_evaluated(run: Run, workflows: types.ModuleType):
    def fails(job: Job) -> Outcome:
        raise DataError("waves: file b.h5 is cut short")

    vars(workflows)["train_epd"] = fails
    assert run("train-eval") == 1
    assert not HERE.eval_dir().exists()
    (failed,) = [event for event in HERE.events("epd", "train") if event["event"] == "failed"]
    assert failed["message"] == "waves: file b.h5 is cut short"


def test_an_error_of_ours_keeps_its_traceback(
    run: Run, workflows: types.ModuleType, capsys: pytest.CaptureFixture[str]
):
    def fails(job: Job) -> Outcome:
        raise ZeroDivisionError("a bug")

    vars(workflows)["train_epd"] = fails
    assert run("epd") == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
    assert "ZeroDivisionError" in HERE.events("epd", "train")[-1]["traceback"]


@pytest.mark.parametrize("as_exit", [False, True])
def test_an_interrupt_says_how_to_go_on(
    run: Run, workflows: types.ModuleType, capsys: pytest.CaptureFixture[str], as_exit: bool
):
    def interrupted(job: Job) -> Outcome:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if as_exit:
                sys.exit(1)
            raise

    vars(workflows)["train_epd"] = interrupted
    assert run("epd") == 130
    assert "autocast epd --resume-from outputs/rd/00" in capsys.readouterr().err
    assert HERE.events("epd", "train")[-1]["event"] == "interrupted"


def test_eval_takes_the_emulator_else_the_autoencoder(run: Run):
    run("ae")
    assert run("eval", workdir=HERE.path) == 0
    assert HERE.kind_of_stage("eval") == "ae"
    run("epd")
    assert run("eval", "eval.name=2", date="rd", run_name="00") == 0
    assert HERE.kind_of_stage("eval-2") == "epd"


def test_a_run_is_evaluated_where_it_is_found(run: Run):
    run("epd")
    assert run("eval", workdir=Path("rd/00")) == 0
    assert HERE.state("epd", "eval") == DONE
    assert not Path("rd").exists()


def test_a_second_evaluation_needs_a_name(run: Run, capsys: pytest.CaptureFixture[str]):
    run("epd")
    assert run("eval", workdir=HERE.path) == 0
    before = tree()
    assert run("eval", workdir=HERE.path) == 0
    assert run("eval", "eval.n_members=9", workdir=HERE.path) == 2
    assert "eval.name=2" in capsys.readouterr().err
    assert tree() == before
    assert run("eval", "eval.n_members=9", "eval.name=2", workdir=HERE.path) == 0
    assert HERE.state("epd", "eval-2") == DONE
    assert run("eval", "eval.n_members=9", workdir=HERE.path, overwrite=True) == 0
    assert yaml.safe_load(HERE.config_file("epd", "eval").read_text())["eval"]["n_members"] == 9


def test_an_evaluation_that_was_cut_off_goes_on_with_what_it_has(run: Run, workflows: types.ModuleType):
    def cut_off(job: Job) -> Outcome:
        part = job.directory.eval_dir(job.stage) / ".parts" / "part"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("two of five")
        raise KeyboardInterrupt

    def goes_on(job: Job) -> Outcome:
        assert (job.directory.eval_dir(job.stage) / ".parts" / "part").read_text() == "two of five"
        return evaluate(job)

    run("epd")
    vars(workflows)["evaluate"] = cut_off
    assert run("eval", workdir=HERE.path) == 130
    vars(workflows)["evaluate"] = goes_on
    assert run("eval", workdir=HERE.path) == 0
    assert HERE.state("epd", "eval") == DONE


def test_an_evaluation_names_its_model_by_digest(run: Run):
    run("epd")
    run("eval", workdir=HERE.path)
    marker = HERE.done_record("epd", "train")
    assert marker is not None
    (parent,) = HERE.run_record("epd", "eval")["parents"]
    assert parent["sha256"] == marker["products"]["encoder_processor_decoder.ckpt"]["sha256"]
    run("epd", "trainer.max_epochs=8", resume_from="rd/00")
    HERE.checkpoint_file("epd").write_text("better weights")
    assert run("eval", workdir=HERE.path) == 2, "other weights are another evaluation"


def test_a_checkpoint_finds_its_own_config(run: Run):
    run("epd", "model.processor.width=16")
    assert run("eval", f"eval.checkpoint={HERE.checkpoint_file('epd')}") == 0
    assert yaml.safe_load(HERE.config_file("epd", "eval").read_text())["model"]["processor"]["width"] == 16
    elsewhere = Path("elsewhere")
    assert run("eval", f"eval.checkpoint={HERE.checkpoint_file('epd')}", workdir=elsewhere) == 0
    assert RunDirectory(elsewhere).state("epd", "eval") == DONE


def test_eval_needs_a_run(run: Run, tmp_path: Path):
    with pytest.raises(LaunchError, match="eval needs a run"):
        run("eval")
    with pytest.raises(NoSuchRunError):
        run("eval", workdir=Path("nowhere"))
    (tmp_path / "loose.ckpt").touch()
    with pytest.raises(NoSuchRunError, match="in no run directory"):
        run("eval", "eval.checkpoint=loose.ckpt")


@pytest.mark.parametrize("name", ["a/b", "'a b'"])
def test_the_name_of_an_evaluation_is_part_of_a_directorys(run: Run, name: str):
    run("epd")
    with pytest.raises(LaunchError, match="letters, digits"):
        run("eval", f"eval.name={name}", workdir=HERE.path)


def test_eval_waits_for_a_checkpoint(run: Run, workflows: types.ModuleType):
    (plan,) = prepare(Request("epd", workdir=HERE.path), CHECKER).plans
    freeze(plan)
    with pytest.raises(UpstreamError, match="no checkpoint yet"):
        run("eval", workdir=HERE.path)


def test_a_job_is_three_words(run: Run):
    (plan,) = prepare(Request("epd", workdir=HERE.path), CHECKER).plans
    freeze(plan)
    assert HERE.state("epd") == UNFINISHED
    assert execute("train_epd", str(HERE.path), "train") == 0
    before = tree()
    assert execute("train_epd", str(HERE.path), "train") == 0, "a job that is started once more does nothing"
    assert tree() == before
    with pytest.raises(LaunchError, match="no stage eval"):
        execute("evaluate", str(HERE.path), "eval")


def test_standard_output_carries_the_document_alone(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("train-eval", json=True) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["stage"], stage["state"]) for stage in stages] == [("train", "done"), ("eval", "done")]
    assert run("ae", "typo=1", json=True) == 2
    assert json.loads(capsys.readouterr().out)["problems"][0]["subject"] == "typo=1"
    assert run("ae", dry_run=True, json=True) == 0
    assert json.loads(capsys.readouterr().out)["job"] == ["train_autoencoder", "outputs/rd/00", "train"]


def test_workdir_wins_with_a_note(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run("ae", workdir=Path("exact"), date="rd") == 0
    assert "--workdir exact wins over --date" in capsys.readouterr().out
    assert RunDirectory(Path("exact")).state("ae") == DONE


def test_hydra_run_dir_is_the_run_directory(run: Run):
    assert run("ae", "hydra.run.dir=exact/1", date=None, run_name=None) == 0
    assert RunDirectory(Path("exact/1")).state("ae") == DONE


def test_weights_to_start_from_are_a_parent(run: Run):
    run("ae")
    assert run("ae", init_from="rd/00", workdir=Path("exact")) == 0
    record = RunDirectory(Path("exact")).run_record("ae", "train")
    assert record["init_from"].endswith("outputs/rd/00/autoencoder.ckpt")
    assert record["parents"][0]["uid"] == HERE.run_record("ae", "train")["uid"]
