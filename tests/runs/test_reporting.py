"""Which evaluation `autocast report` means, and where it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autocast.errors import ConfigError
from autocast.evaluation.material import MATERIAL_FILE
from autocast.runs.directory import NoSuchRunError, RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.launch import run as start
from autocast.runs.reporting import MATERIAL, ReportRequest, read_report
from autocast.runs.request import Request
from autocast.runs.using import report


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with an evaluation that can be drawn, one of an older version, and one that has no scores yet."""
    made = RunDirectory(tmp_path / "rd" / "00")
    made.path.mkdir(parents=True)
    made.checkpoint_file("epd").touch()
    write_json(made.run_file("epd", "train"), {"uid": "a"})
    for stage, files in {"eval": ("metrics.csv", MATERIAL), "eval-old": ("metrics.csv",), "eval-cut": ()}.items():
        made.eval_dir(stage).mkdir()
        for name in files:
            (made.eval_dir(stage) / name).touch()
    return made


def read(base: Path, name: str = "rd/00", **places: Any) -> ReportRequest:
    return read_report(name, base, **{"evaluation": None, "out": None, "megabytes": 10.0, **places})


@pytest.mark.slow
def test_the_report_of_a_trained_run_is_drawn_again_to_the_last_byte(simulated, tmp_path, capsys):
    data = simulated("simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 4, valid: 2, test: 3}")
    words = ("trainer.max_epochs=1", "model.processor.backbone.width=8", "model.processor.backbone.levels=1")
    assert start(Request("epd", words, dataset=str(data), workdir=tmp_path / "rd" / "00")) == 0
    assert start(Request("eval", ("eval.n_members=3",), workdir=tmp_path / "rd" / "00")) == 0
    page = tmp_path / "rd" / "00" / "eval" / "report.html"
    first = page.read_bytes()
    page.unlink()
    places = {"evaluation": None, "out": None, "megabytes": 10.0}
    capsys.readouterr()
    assert report("rd/00", places, output_base=tmp_path, json=True, dry_run=False) == 0
    assert page.read_bytes() == first
    assert json.loads(capsys.readouterr().out)["missing"] == []


def test_both_towers_mean_the_same_file():
    assert MATERIAL == MATERIAL_FILE


def test_it_is_drawn_in_its_place(run, tmp_path):
    found = read(tmp_path)
    assert found.page == run.path / "eval" / "report.html"
    assert found.figures == run.path / "eval" / "figures"
    assert found.largest == 10_000_000
    assert read(tmp_path, str(run.path / "eval")) == found == read(tmp_path, evaluation="eval")


def test_another_page_has_figures_of_its_own_and_replaces_nothing(run, tmp_path):
    page = tmp_path / "mine.html"
    assert read(tmp_path, out=page).figures == tmp_path / "mine_figures"
    page.touch()
    with pytest.raises(ConfigError, match=r"mine\.html is there already\. Give another name"):
        read(tmp_path, out=page)


def test_what_cannot_be_drawn_is_said_with_the_remedy(run, tmp_path):
    with pytest.raises(ConfigError, match=r"older version.*eval --workdir .*rd/00 eval\.name=again; .*--overwrite"):
        read(tmp_path, evaluation="old")
    with pytest.raises(ConfigError, match=r"no evaluation that has its scores. Run: autocast eval"):
        read(tmp_path, evaluation="cut")
    with pytest.raises(NoSuchRunError, match=r"has no evaluation eval-nope; it has eval, eval-old\."):
        read(tmp_path, evaluation="nope")
    with pytest.raises(NoSuchRunError):
        read(tmp_path, "rd/99")
    with pytest.raises(ConfigError, match="--max-size 0: more than 0"):
        read(tmp_path, megabytes=0.0)
