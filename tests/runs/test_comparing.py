"""What `autocast compare` reads of run directories, and the whole of it on runs that were trained."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocast.errors import ConfigError
from autocast.runs.comparing import read_compare
from autocast.runs.directory import NoSuchRunError, RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.launch import run
from autocast.runs.request import Request
from autocast.runs.using import compare

WISHES = {"metrics": (), "window": "all", "kind": None, "aggregate": True}
PLACES: dict[str, Any] = {"out": None, "html": False, "overwrite": False, "dry_run": False}


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., RunDirectory]:
    """Makes the files of a run of an emulator that a comparison looks at."""

    def make(name: str, *evaluations: str, seed: int = 1, width: int = 8, gpus: int = 0) -> RunDirectory:
        made = RunDirectory(tmp_path / "rd" / name)
        config = {
            "seed": seed,
            "datamodule": {"data_path": "waves", "seed": seed},
            "model": {"width": width},
            "trainer": {"accelerator": "auto", "devices": "auto", "num_nodes": 1},
        }
        made.path.mkdir(parents=True)
        made.config_file("epd").write_text(yaml.safe_dump(config))
        made.checkpoint_file("epd").touch()
        record = {"uid": name, "parents": [], "mode": "local", "device": {"gpus": ["H100"] * gpus}}
        write_json(made.run_file("epd", "train"), record)
        write_json(made.done_file("epd", "train"), {"summary": {"seconds": 1800.0}})
        for stage in evaluations:
            made.eval_dir(stage).mkdir()
            (made.eval_dir(stage) / "metrics.csv").touch()
        return made

    return make


def read(base: Path, *names: str, **settings: Any) -> Any:
    return read_compare(names, WISHES, base, **{"against": None, **PLACES, **settings})


def test_runs_of_one_config_are_known_by_all_but_their_seed(trained, tmp_path):
    for name, facts in {"a": {}, "b": {"seed": 2}, "c": {"width": 16}}.items():
        trained(name, "eval", **facts)
    a, b, c = read(tmp_path, "rd/a", "rd/b", "rd/c").contenders
    assert a.config_key == b.config_key != c.config_key
    assert (a.seed, b.seed) == (1, 2)
    assert a.label == "rd/a"
    assert a.command == f"autocast eval --workdir {tmp_path / 'rd' / 'a'}"


def test_gpu_hours_are_those_of_gpus(trained, tmp_path):
    trained("cpu", "eval"), trained("gpu", "eval", gpus=2)
    cpu, gpu = read(tmp_path, "rd/cpu", "rd/gpu").contenders
    assert (cpu.training_seconds, cpu.gpu_hours) == (1800.0, None)
    assert gpu.gpu_hours == 1.0


def test_evaluations_are_named_by_their_run_or_their_path(trained, tmp_path):
    trained("a", "eval", "eval-long"), trained("b", "eval-long"), trained("c", "eval-long", "eval-short"), trained("d")
    found = read(tmp_path, "rd/a", "rd/a/eval-long", str(tmp_path / "rd" / "b"), "rd/d")
    assert found.problems == ()
    assert [each.label for each in found.contenders] == ["rd/a", "rd/a/eval-long", "rd/b/eval-long", "rd/d"]
    (problem,) = read(tmp_path, "rd/a", "rd/c").problems
    assert problem.message == "has the evaluations eval-long, eval-short: give the path of one of them"


def test_the_run_to_compare_with_takes_part(trained, tmp_path):
    trained("a", "eval"), trained("b", "eval")
    for names in (("rd/a",), ("rd/a", "rd/b")):
        found = read(tmp_path, *names, against="rd/b")
        assert (len(found.contenders), found.against, found.problems) == (2, "rd/b", ())


def test_all_that_is_wrong_is_told_at_once(trained, tmp_path):
    trained("a", "eval")
    out = tmp_path / "out"
    out.mkdir()
    (out / "comparison.md").touch()
    found = read(tmp_path, "rd/a", "rd/a", "rd/x", out=out)
    assert [problem.subject for problem in found.problems] == ["rd/a", "rd/x", f"--out {out}"]
    assert read(tmp_path, "rd/a", out=out, overwrite=True).problems[0].subject == "RUN"
    assert [problem.subject for problem in read(tmp_path, "rd/a", "rd/a", html=True).problems][-1] == "--html"


def test_runs_that_are_not_there_have_an_exit_code_of_their_own(trained, tmp_path):
    trained("a", "eval")
    with pytest.raises(NoSuchRunError, match="rd/x"):
        compare(["rd/x", "rd/y"], WISHES, against=None, output_base=tmp_path, json=False, **PLACES)
    with pytest.raises(ConfigError, match=r"(?s)rd/x.*autocast eval --workdir \S*a --overwrite"):
        compare(["rd/a", "rd/x"], WISHES, against=None, output_base=tmp_path, json=False, **PLACES)


SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 6, valid: 2, test: 5}")
TINY = ("trainer.max_epochs=1", "datamodule.batch_size=16", "model.processor.backbone.width=8",
        "model.processor.backbone.levels=1")  # fmt: skip


@pytest.fixture(scope="module")
def runs(simulated: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output base with three processors that were trained and evaluated, one of them with two seeds."""
    base, data = tmp_path_factory.mktemp("runs"), str(simulated(*SIMULATION))
    scores = "eval.metrics=[vrmse,crps_fair,ssr,skill,coverage]"
    evaluation = (scores, "eval.n_members=3", "eval.video=false", "eval.windows=[1,2:4]", "eval.baselines=[]")
    wanted = {"direct": ("direct", 1), "ensemble": ("ensemble", 1), "flow": ("flow_matching", 1)}
    wanted["flow2"] = ("flow_matching", 2)
    for name, (processor, seed) in wanted.items():
        directory = base / "rd" / name
        words = (f"model.processor={processor}", f"seed={seed}", *TINY)
        assert run(Request("epd", words, dataset=data, workdir=directory)) == 0
        assert run(Request("eval", evaluation, workdir=directory)) == 0
    return base


@pytest.mark.slow
def test_three_processors_side_by_side(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, out = ["rd/direct", "rd/ensemble", "rd/flow", "rd/flow2"], tmp_path / "out"
    wishes = {**WISHES, "kind": "member"}
    places = {**PLACES, "out": out, "html": True}
    how: dict[str, Any] = {"against": None, "output_base": runs}
    assert compare(names, wishes, json=False, **how, **{**places, "dry_run": True}) == 0
    assert not out.exists()
    capsys.readouterr()
    assert compare(names, wishes, json=False, **how, **places) == 0
    printed = capsys.readouterr().out
    assert "rd/flow ×2" in printed
    assert "5 test trajectories" in printed
    files = {"comparison.csv", "comparison.json", "comparison.md", "comparison.tex", "comparison.html"}
    assert {file.name for file in out.iterdir()} == {*files, "curves.svg", "curves.png"}
    rows = {(row["metric"], row["run"]): row for row in csv.DictReader((out / "comparison.csv").open())}
    assert {metric for metric, _ in rows} == {"vrmse", "crps_fair", "ssr"}
    assert int(rows["vrmse", "rd/direct"]["n_parameters"]) > 0
    capsys.readouterr()
    assert compare(names, wishes, json=True, **how, **PLACES) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [entry["n_seeds"] for entry in shown["runs"]] == [1, 1, 2]


@pytest.mark.slow
def test_scores_agree_with_those_of_the_evaluation(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wishes = {**WISHES, "metrics": ("vrmse", "skill", "ssr", "coverage"), "window": "2:4", "aggregate": False}
    names = ["rd/ensemble", "rd/flow"]
    assert compare(names, wishes, against="rd/ensemble", output_base=runs, json=True, **PLACES) == 0
    shown = json.loads(capsys.readouterr().out)
    for name in names:
        with (runs / name / "eval" / "metrics.csv").open() as file:
            found = [row for row in csv.DictReader(file) if row["model"] == "model" and row["window"] == "2:4"]
        table = {(row["metric"], row["kind"]): float(row["value"]) for row in found if row["channel"] == "all"}
        for score in shown["scores"]:
            (row,) = (row for row in score["rows"] if row["run"] == name)
            assert row["value"] == pytest.approx(table[score["metric"], row["kind"]], rel=1e-6)


@pytest.mark.slow
def test_plain_scores_are_compared_without_torch(runs: Path) -> None:
    words = ["compare", "rd/ensemble", "rd/flow", "--metric", "vrmse", "--output-base", str(runs)]
    code = f"import sys; from autocast.cli.main import app; app({words!r}, standalone_mode=False)"
    code += "; assert 'torch' not in sys.modules; assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "VRMSE" in done.stdout
