"""Every command of the frozen surface, tried dry: the tree stays as it is, mistakes are printed, gaps are named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autocast.cli import main as cli

pytestmark = pytest.mark.e2e

COMMANDS = [
    line for line in Path(__file__).with_name("surface.txt").read_text().splitlines() if not line.startswith(" ")
]
"""The list that `test_surface.py` holds the command line to."""

SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 4, valid: 2, test: 2}")
TRAINING = ("--workdir", "outputs/rd/00", "trainer.max_epochs=1", "model.processor.backbone.width=8")
EVALUATION = ("eval.metrics=[vrmse]", "eval.n_members=2", "eval.n_steps=2", "eval.video=false")
ENCODER = ("model.encoder.widths=[4]", "model.encoder.blocks=[1]", "model.encoder.latent_channels=2")


@dataclass(frozen=True)
class Try:
    """What is typed after a command, without `--dry-run`."""

    good: str
    bad: str
    told: str
    """What the bad line is met with."""
    unchecked: str = ""
    """What the good line names as not checked."""
    reads: bool = False
    """It has no `--dry-run`, for it only reads."""
    scripted: bool = True


TRIES = {
    "autocast": Try("--version", "epdd", "Did you mean 'epd'", reads=True, scripted=False),
    "autocast demo": Try("--quick", "--seed many", "--seed", "each of them"),
    "autocast ae": Try("--dataset waves", "--dataset waves model.encoder=nope", "no such encoder", "needs torch"),
    "autocast cache-latents": Try(
        "--autoencoder rd/ae dtype=float16", "--autoencoder rd/ae dtype=int8", 'dtype=int8   "int8"', "needs torch"
    ),
    "autocast processor": Try(
        "--autoencoder rd/ae", "--autoencoder rd/ae --dataset winds", "is of other data", "needs torch"
    ),
    "autocast epd": Try("--dataset waves", "--dataset nope", "--dataset nope", "needs torch"),
    "autocast train-eval": Try(
        "--dataset waves ::eval:: eval.n_members=2",
        "--dataset waves ::eval:: eval.nope=2",
        "eval.nope=2   no such key",
        "needs torch",
    ),
    "autocast eval": Try("--workdir rd/00", "--workdir rd/00 eval.nope=1", "eval.nope=1   no such key", "needs torch"),
    "autocast forecast": Try(
        "rd/00 --from waves --out f.h5", "rd/00 --from nope --out f.h5", "nope: neither a file", "needs torch"
    ),
    "autocast compare": Try("rd/00/eval-a rd/00/eval-b --out both --html", "rd/00/eval-a", "at least two runs"),
    "autocast report": Try("rd/00 --eval a", "rd/00 --max-size 0", "--max-size 0: more than 0", "films are there"),
    "autocast sample": Try("rd/ae", "rd/ae --samples 24", "--samples 24: a square number", "validation frames"),
    "autocast benchmark": Try("rd/00", "rd/00 --members x", "--members x   whole numbers", "needs torch"),
    "autocast status": Try("rd/00", "--nope", "--nope", reads=True),
    "autocast logs": Try("rd/00", "rd/00 --stage nope", "--stage nope: not in", reads=True),
    "autocast why": Try("rd/00", "rd/00 --kind ae", "--kind ae: not in", reads=True),
    "autocast cancel": Try("rd/00", "--yes", "Missing argument"),
    "autocast resume": Try("rd/00", "rd/00 trainer.nope=1", "trainer.nope=1   no such key", "needs torch"),
    "autocast sync": Try("rd/00", "rd/00 --nope", "--nope"),
    "autocast data simulate": Try(
        "--dataset reaction_diffusion seed=3", "simulator.nope=1", "simulator.nope=1   no such key", "needs torch"
    ),
    "autocast data inspect": Try("waves --video f.png", "nope", "nope: neither a file nor a directory", "the data"),
    "autocast config show": Try("epd --dataset waves", "epd nope=1", "nope=1   no such key", reads=True),
    "autocast config import": Try(
        "vae.json --out mine", "vae.json --out mine/vae.yaml", "Give --out mine/preset/vae.yaml"
    ),
    "autocast doctor": Try("", "--nope", "--nope", reads=True),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two data sets, a trained run with two evaluations and an autoencoder with a cache in it."""
    path = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert (
            called(patch, "data simulate --dataset", "datasets/waves", "simulator=reaction_diffusion", *SIMULATION) == 0
        )
        shutil.copytree("datasets/waves", "datasets/winds")
        Path("datasets/winds/manifest.json").unlink()
        Path("vae.json").write_text('{"training": {"epochs": 3}}')
        assert called(patch, "epd --dataset waves", *TRAINING) == 0
        for name in "ab":
            assert called(patch, "eval --workdir rd/00", *EVALUATION, f"eval.name={name}") == 0
        trained = called(patch, "ae --dataset waves --workdir outputs/rd/ae trainer.max_epochs=1", *ENCODER)
        assert trained == called(patch, "cache-latents --autoencoder rd/ae") == 0
    return path


@pytest.fixture
def call(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(workplace)
    return lambda line, *words: called(monkeypatch, line, *words)


def called(patch: pytest.MonkeyPatch, line: str, *words: str) -> int:
    """The exit code of `autocast LINE WORDS`, in this process."""
    patch.setattr(sys, "argv", ["autocast", *line.split(), *words])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def tree(path: Path) -> dict[str, tuple[int, str]]:
    """Everything below a directory: when it was changed, and what is in it."""
    return {
        str(file.relative_to(path)): (
            file.lstat().st_mtime_ns,
            hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "",
        )
        for file in [path, *path.rglob("*")]
    }


def line_of(name: str, words: str) -> str:
    return f"{name.removeprefix('autocast')} {words}{'' if TRIES[name].reads else ' --dry-run'}"


def test_every_command_is_tried():
    """A new command needs an entry in the table."""
    assert list(TRIES) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_changes_nothing_and_names_what_it_left_out(
    name: str, call: Callable[..., int], workplace: Path, capsys: pytest.CaptureFixture[str]
):
    before = tree(workplace)
    assert call(line_of(name, TRIES[name].good)) == 0
    assert tree(workplace) == before
    out = capsys.readouterr().out
    assert out
    assert ("nothing was written, nothing was started" in out) is not TRIES[name].reads
    gaps = [line for line in out.splitlines() if "not checked" in line]
    assert bool(gaps) is bool(TRIES[name].unchecked)
    assert all(TRIES[name].unchecked in gap for gap in gaps)


@pytest.mark.parametrize("name", [name for name in COMMANDS if TRIES[name].scripted])
def test_scripts_are_told_the_same(
    name: str, call: Callable[..., int], workplace: Path, capsys: pytest.CaptureFixture[str]
):
    before = tree(workplace)
    assert call(line_of(name, TRIES[name].good), "--json") == 0
    assert tree(workplace) == before
    document = json.loads(capsys.readouterr().out)
    for stage in document.get("stages", [document]):
        assert TRIES[name].unchecked in " ".join(stage.get("not_checked", []))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_told_and_is_2(
    name: str, call: Callable[..., int], workplace: Path, capsys: pytest.CaptureFixture[str]
):
    before = tree(workplace)
    assert call(line_of(name, TRIES[name].bad)) == 2
    assert TRIES[name].told in capsys.readouterr().err
    assert tree(workplace) == before


def test_a_data_set_that_is_looked_at_stays_as_it_is(call: Callable[..., int], workplace: Path):
    before = tree(workplace)
    assert call("data inspect waves") == 0
    assert tree(workplace) == before


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "epd --dry-run --dataset waves",
        "eval --dry-run --workdir rd/00",
        "cache-latents --dry-run --autoencoder rd/ae",
        "processor --dry-run --autoencoder rd/ae",
    ],
)
def test_what_only_looks_needs_no_torch(line: str, workplace: Path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "autocast", *line.split()],
        cwd=workplace,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    lines = [text for text in done.stderr.splitlines() if text.startswith("import time:")]
    imported = {text.rpartition("|")[2].strip().partition(".")[0] for text in lines}
    assert "autocast" in imported
    assert imported & {"torch", "lightning", "submitit", "pandas", "wandb"} == set()
