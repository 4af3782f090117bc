"""What `autocast resume` continues, and with what."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.errors import ConfigError
from autocast.runs import dispatch, resume
from autocast.runs.console import Screen
from autocast.runs.decision import CONTINUE, EXTEND
from autocast.runs.directory import DONE, NoSuchRunError, RunDirectory
from autocast.runs.execution import execute
from autocast.runs.freeze import freeze
from autocast.runs.job import Job, Outcome
from autocast.runs.launch import start
from autocast.runs.plan import Plan, prepare
from autocast.runs.request import LOCAL, SLURM, Request
from tests.runs.test_launch import CHECKER, evaluate, train, workflows  # noqa: F401 - a fixture

Ends = Callable[..., None]
Sent = list[tuple[Request, Sequence[Plan]]]
HERE = RunDirectory(Path("outputs/rd/00"))


@pytest.fixture(autouse=True)
def _fakes(workflows: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(resume, "own_checker", lambda: CHECKER)


@pytest.fixture
def ends(workflows: types.ModuleType) -> Ends:  # noqa: F811
    """`ends(train=, evaluate=)`: how stages end from now on."""

    def set_up(**functions: Callable[[Job], Outcome]) -> None:
        both = {"train_epd": functions.get("train", train), "train_autoencoder": functions.get("train", train)}
        vars(workflows).update(**both, evaluate=functions.get("evaluate", evaluate))

    return set_up


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What would be sent to a cluster."""
    found: Sent = []
    monkeypatch.setattr(dispatch, "send", lambda request, plans, screen: found.append((request, plans)) or (0, []))
    return found


def killed(job: Job) -> Outcome:
    """Saves, and dies."""
    if job.trains:
        train(job)
    raise RuntimeError("the node died")


def begin(command: str, *words: str, **flags: Any) -> int:
    return start(Request(command, words, date="rd", run_name="00", **flags), CHECKER, Screen())


def launched(command: str, *words: str, **flags: Any) -> None:
    """A run whose jobs were sent, and vanished before they started."""
    for plan in prepare(Request(command, words, workdir=HERE.path, mode=SLURM, **flags), CHECKER).plans:
        freeze(plan)


def go_on(*words: str, kind: str | None = None, mode: str | None = None, **flags: Any) -> int:
    return resume.resume("rd/00", Request("resume", words, **flags), kind=kind, mode=mode)


def saved(stage: str) -> dict[str, Any]:
    return yaml.safe_load(HERE.config_file("epd", stage).read_text())


def test_a_training_goes_on_from_what_it_saved_and_what_followed_it_follows(ends: Ends):
    launched("train-eval", "trainer.max_epochs=4", "::eval::", "eval.n_members=5")
    ends(train=killed)
    assert execute("train_epd", str(HERE.path), "train") == 1
    ends()
    assert go_on(mode=LOCAL) == 0
    assert HERE.state("epd") == HERE.state("epd", "eval") == DONE
    starts = [event for event in HERE.events("epd", "train") if event["event"] == "started"]
    assert starts[1]["resume_from"].endswith("last.ckpt")
    assert saved("train")["trainer"]["max_epochs"] == 4
    assert saved("eval")["eval"]["n_members"] == 5


def test_only_what_is_not_done_is_continued(ends: Ends):
    launched("train-eval")
    assert execute("train_epd", str(HERE.path), "train") == 0
    ends(evaluate=killed)
    assert execute("evaluate", str(HERE.path), "eval") == 1
    before = HERE.checkpoint_file("epd").stat().st_mtime_ns
    ends()
    assert go_on(mode=LOCAL) == 0
    assert HERE.state("epd", "eval") == DONE
    assert HERE.checkpoint_file("epd").stat().st_mtime_ns == before
    assert [e["event"] for e in HERE.events("epd", "train")].count("started") == 1


def test_words_before_the_separator_are_for_the_training_and_after_it_for_the_evaluation(sent: Sent):
    launched("train-eval", "cluster.time=60", "::eval::", "cluster.time=5", "cluster.partition=short")
    assert go_on("cluster.time=120", "::eval::", "eval.batch_size=2") == 0
    ((request, (training, evaluation)),) = sent
    assert request.mode == SLURM, "as it was launched"
    assert training.config["cluster"]["time"] == 120
    assert "partition" not in training.config["cluster"]
    assert evaluation.config["cluster"] == {"time": 5, "partition": "short"}, "it keeps its own section"
    assert evaluation.config["eval"]["batch_size"] == 2
    assert training.decision.action == CONTINUE
    assert [parent.pending for parent in evaluation.parents] == [True]


def test_an_evaluation_alone_needs_no_separator(sent: Sent):
    launched("train-eval", "::eval::", "cluster.time=5")
    assert execute("train_epd", str(HERE.path), "train") == 0
    assert go_on("cluster.time=10") == 0
    ((_, (evaluation,)),) = sent
    assert evaluation.config["cluster"]["time"] == 10
    assert [parent.pending for parent in evaluation.parents] == [False], "the training is done: nothing to wait for"


def test_two_evaluations_both_follow_the_training(sent: Sent):
    launched("train-eval")
    launched("eval", "eval.name=2", "eval.n_members=9")
    assert go_on() == 0
    ((_, plans),) = sent
    assert [(plan.stage, plan.config["eval"]["n_members"]) for plan in plans] == [
        ("train", 2),
        ("eval", 2),
        ("eval-2", 9),
    ]
    assert all(plan.parents[0].pending for plan in plans[1:])


def test_where_it_goes_on_can_be_said(sent: Sent):
    launched("epd")
    assert go_on(mode=LOCAL) == 0
    assert sent == []
    assert HERE.run_record("epd", "train")["mode"] == LOCAL


def test_what_the_start_fixed_is_refused_by_name(sent: Sent, capsys: pytest.CaptureFixture[str]):
    launched("train-eval")
    before = saved("train")
    assert go_on("seed=7", "model.encoder.width=8") == 2
    assert "keeps its seed, model.encoder.width" in capsys.readouterr().err
    assert sent == []
    assert saved("train") == before


def test_a_mistake_after_the_separator_stops_everything(sent: Sent, capsys: pytest.CaptureFixture[str]):
    launched("train-eval")
    before = saved("train")
    assert go_on("trainer.max_epochs=9", "::eval::", "eval.typo=1") == 2
    assert "eval.typo=1" in capsys.readouterr().err
    assert (sent, saved("train")) == ([], before)


def test_of_several_unfinished_kinds_one_must_be_named(ends: Ends):
    ends(train=killed)
    assert begin("ae") == begin("epd") == 1
    with pytest.raises(ConfigError, match="holds several runs: give one of ae, epd with --kind"):
        go_on()
    ends()
    assert go_on(kind="epd") == 0
    assert (HERE.state("epd"), HERE.state("ae")) == (DONE, "unfinished")
    assert go_on() == 0, "only one is left"
    assert HERE.state("ae") == DONE


def test_a_kind_or_a_run_that_is_not_there():
    begin("ae")
    with pytest.raises(ConfigError, match="nothing of kind epd was started here"):
        go_on(kind="epd")
    with pytest.raises(NoSuchRunError, match=r"no such run: rd/01\. Did you mean rd/00"):
        resume.resume("rd/01", Request("resume"))


def test_a_finished_run_is_left_alone_or_trained_longer(capsys: pytest.CaptureFixture[str]):
    begin("epd")
    assert go_on() == 0
    assert "Nothing was started" in capsys.readouterr().out
    assert go_on("trainer.max_epochs=9") == 0
    assert "trainer.max_epochs 3 -> 9" in capsys.readouterr().out
    assert saved("train")["trainer"]["max_epochs"] == 9
    assert [e["action"] for e in HERE.events("epd", "train") if e["event"] == "launched"][-1] == EXTEND


def test_a_rehearsal_writes_nothing(ends: Ends):
    ends(train=killed)
    begin("epd")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert go_on("trainer.max_epochs=9", dry_run=True) == 0
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
