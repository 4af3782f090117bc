"""The command line as a user meets it: words in any order, suggestions, exit codes, and how little it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import autocast
from autocast.cli import main as cli
from autocast.metrics.catalogue import ENTRIES
from autocast.runs import demo, launch
from autocast.runs.request import Request

HEAVY = ("torch", "lightning", "hydra", "omegaconf", "submitit", "numpy", "h5py", "pandas", "wandb")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What reaches the launcher."""
    seen: list[Request] = []
    monkeypatch.setattr(launch, "run", lambda request: seen.append(request) or 0)
    return seen


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs `autocast WORDS` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def called(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["autocast", *words])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return int(exit_.value.code or 0)

    return called


def subprocess_autocast(*words: str, cwd: Path, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, *python, "-m", "autocast", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def imported(importtime: str) -> set[str]:
    """Top-level packages in what `python -X importtime` wrote."""
    lines = [line for line in importtime.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "words",
    [
        ("--dataset", "waves", "a.b=1", "~c", "+d=[1,2]", "++e='x, y'", "group@dest=option", "--date", "rd"),
        ("a.b=1", "~c", "+d=[1,2]", "--date", "rd", "++e='x, y'", "group@dest=option", "--dataset", "waves"),
        ("a.b=1", "--date=rd", "~c", "--dataset=waves", "+d=[1,2]", "++e='x, y'", "group@dest=option"),
    ],
)
def test_overrides_and_options_mix_in_any_order(call: Callable[..., int], requests: list[Request], words: tuple):
    assert call("epd", *words) == 0
    (request,) = requests
    assert request.command == "epd"
    assert request.overrides == ("a.b=1", "~c", "+d=[1,2]", "++e='x, y'", "group@dest=option")
    assert (request.dataset, request.date, request.mode) == ("waves", "rd", "local")


def test_the_eval_token_is_kept_among_the_words(call: Callable[..., int], requests: list[Request]):
    call("train-eval", "trainer.max_epochs=1", "::eval::", "eval.batch_indices=[0,1]", "--run-name", "00")
    assert requests[0].overrides == ("trainer.max_epochs=1", "::eval::", "eval.batch_indices=[0,1]")
    assert requests[0].run_name == "00"


@pytest.mark.parametrize("command", ["ae", "epd", "train-eval"])
def test_commands_that_train_share_their_options(call: Callable[..., int], requests: list[Request], command: str):
    words = "--workdir w --output-base o --resume-from auto --init-from r --preset p --mode slurm --cluster c"
    switches = "--no-resume --overwrite --detach --dry-run --json -v --config-dir d"
    assert call(command, *words.split(), *switches.split()) == 0
    assert requests[0] == Request(
        command=command,
        workdir=Path("w"),
        output_base=Path("o"),
        config_dir=Path("d"),
        resume_from="auto",
        init_from="r",
        preset="p",
        mode="slurm",
        cluster="c",
        no_resume=True,
        overwrite=True,
        detach=True,
        dry_run=True,
        json=True,
        verbose=True,
    )


def test_an_evaluation_has_the_options_that_it_has_a_use_for(call: Callable[..., int], requests: list[Request]):
    assert call("eval", "--workdir", "w", "--overwrite", "--dry-run", "--json") == 0
    assert requests == [Request("eval", workdir=Path("w"), overwrite=True, dry_run=True, json=True)]
    for words in (("--resume-from", "r"), ("--init-from", "r"), ("--preset", "p"), ("--no-resume",)):
        assert call("eval", *words) == 2


def test_only_emulators_are_given_an_autoencoder(call: Callable[..., int], requests: list[Request]):
    assert call("epd", "--autoencoder", "rd/ae") == 0
    assert requests[0].autoencoder == "rd/ae"
    assert call("ae", "--autoencoder", "rd/ae") == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("epdd",), "Did you mean 'epd'"), (("epd", "--datset", "x"), "--dataset"), (("data", "simulat"), "simulate")],
)
def test_a_misspelt_word_is_met_with_the_nearest(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple, hint: str
):
    assert call(*words) == 2
    assert hint in capsys.readouterr().err


def test_the_version_is_printed(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert call("--version") == 0
    assert capsys.readouterr().out == f"autocast {autocast.__version__}\n"


def test_a_users_mistake_is_one_message(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert call("forecast", "rd/00", "--from", "waves", "--out", "f.h5") == 4
    assert capsys.readouterr().err.startswith("no such run: rd/00.")


def test_a_data_set_is_a_directory(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    Path("waves.hdf5").touch()
    assert call("data", "inspect", "waves.hdf5") == 2
    assert capsys.readouterr().err.startswith("waves.hdf5: a file. data inspect wants the directory")


def test_an_interrupt_is_130(call: Callable[..., int], monkeypatch: pytest.MonkeyPatch):
    def interrupted(request: Request) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupted)
    assert call("epd") == 130


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(request: Request) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(launch, "run", broken)
    monkeypatch.setattr(sys, "argv", ["autocast", "epd"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_the_demo_is_four_ordinary_commands(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert call("demo", "--dry-run", "--workdir", "my demo", "--seed", "3") == 0
    typed = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  autocast")]
    assert [line.split()[1] for line in typed] == ["data", "ae", "epd", "eval"]
    assert all("'my demo" in line for line in typed)
    assert list(tmp_path.iterdir()) == []
    done: list[str] = []
    monkeypatch.setattr(demo, "simulate", lambda request, screen: done.append(demo.as_typed(request)) or 0)
    monkeypatch.setattr(demo, "run_job", lambda request, screen: done.append(demo.as_typed(request)) or 0)
    assert call("demo", "--workdir", "my demo", "--seed", "3") == 0
    assert done == typed


def test_the_demo_lies_where_dotenv_says(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AUTOCAST_OUTPUTS", "restored by the fixture")
    monkeypatch.delenv("AUTOCAST_OUTPUTS")
    Path(".env").write_text("AUTOCAST_OUTPUTS=elsewhere\n")
    assert call("demo", "--dry-run") == 0
    assert "autocast eval --workdir elsewhere/demo/42" in capsys.readouterr().out


def test_the_demo_stops_at_the_first_failure(call: Callable[..., int], monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    monkeypatch.setattr(demo, "simulate", lambda request, screen: 0)
    monkeypatch.setattr(demo, "run_job", lambda request, screen: done.append(request.command) or 2)
    assert call("demo") == 2
    assert done == ["ae"]


def test_help_imports_nothing_heavy(tmp_path: Path):
    done = subprocess_autocast("--help", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0
    assert "train-eval" in done.stdout
    assert imported(done.stderr) & set(HEAVY) == set()


@pytest.mark.parametrize("command", ["ae", "epd", "eval", "forecast", "demo", "doctor"])
def test_the_help_of_a_command_imports_nothing_heavy(tmp_path: Path, command: str):
    done = subprocess_autocast(command, "--help", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0
    assert imported(done.stderr) & set(HEAVY) == set()


def test_a_dry_run_imports_no_torch(tmp_path: Path):
    done = subprocess_autocast("epd", "--dry-run", "--dataset", "nope", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 2
    assert imported(done.stderr) & {"torch", "lightning", "submitit", "pandas", "wandb"} == set()
    assert list(tmp_path.iterdir()) == []


def test_scores_are_explained_without_a_run_and_without_torch(tmp_path: Path):
    done = subprocess_autocast("eval", "--explain", "vrmse", cwd=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0
    for words in ("sqrt(<(x - y)²> / (Var(y) + 1e-7))", "member, mean", "arxiv.org", "spatial mean", "unbiased"):
        assert words.lower() in done.stdout.lower()
    assert imported(done.stderr) & set(HEAVY) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("ssr,psrmse",), ("ssr", "psrmse"), ("ssr", "psrmse_low,psrmse", "a.b=[c,d]")])
def test_several_scores_and_families_are_explained(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
):
    assert call("eval", "--json", "--explain", *words) == 0
    entries = json.loads(capsys.readouterr().out)["scores"]
    assert [entry["name"] for entry in entries] == ["ssr", *(f"psrmse_{b}" for b in ("low", "mid", "high", "tail"))]
    assert entries[0]["pooled"] is True
    assert entries[0]["unit"] == "1"
    assert entries[0]["pitfalls"]


def test_all_scores_are_explained(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert call("eval", "--explain", "all", "--json") == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)["scores"]]
    assert names == list(ENTRIES)
    assert call("eval", "--explain", "all") == 0
    printed = capsys.readouterr().out.splitlines()
    assert set(names) <= set(printed)


def test_a_score_that_is_not_there_is_answered_with_the_nearest(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    assert call("eval", "--explain", "vrsme") == 2
    assert "--explain: no such metric 'vrsme'" in (message := capsys.readouterr().err)
    assert "Did you mean vrmse?" in message


def test_all_problems_come_in_one_message_and_nothing_is_written(tmp_path: Path):
    done = subprocess_autocast("epd", "trainer.max_epocs=3", "model.procesor=vitt", "--dataset", "nope", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "3 problems, nothing was started:"
    assert "Did you mean trainer.max_epochs?" in lines[1]
    assert "Did you mean" in lines[2]
    assert lines[3].startswith("  --dataset nope")
    assert list(tmp_path.iterdir()) == []


def test_what_is_piped_has_no_boxes_and_no_colour(tmp_path: Path):
    done = subprocess_autocast("doctor", cwd=tmp_path)
    assert "python" in done.stdout
    assert not set(done.stdout) & set("╭│╰\x1b")


def test_doctor_answers_scripts(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    call("doctor", "--json")
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"python", "packages", "torch", "gpu", "scheduler", "ffmpeg", "tracking"} <= {f["name"] for f in findings}
    assert all(finding["remedy"] for finding in findings if finding["state"] != "ok")


def test_config_show_prints_what_a_command_would_use(call: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    (Path("datasets") / "reaction_diffusion").mkdir(parents=True)
    assert call("config", "show", "ae", "trainer.max_epochs=3", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["trainer"]["max_epochs"] == 3
    assert "processor" not in shown["model"]
    assert call("config", "show", "simulate") == 0
    assert "simulator:" in capsys.readouterr().out


def test_the_scripts_take_bare_overrides(monkeypatch: pytest.MonkeyPatch, requests: list[Request]):
    from autocast.scripts.eval import encoder_processor_decoder as evaluation
    from autocast.scripts.train import autoencoder, encoder_processor_decoder

    def run(module: types.ModuleType, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *words])
        with pytest.raises(SystemExit):
            module.main()

    run(autoencoder, "hydra.run.dir=outputs/a", "model.encoder=dc")
    run(encoder_processor_decoder, "--config-dir", "mine", "model.processor=vit")
    run(evaluation, "eval.checkpoint=outputs/a/epd.ckpt")
    assert requests == [
        Request("ae", ("hydra.run.dir=outputs/a", "model.encoder=dc")),
        Request("epd", ("model.processor=vit",), config_dir=Path("mine")),
        Request("eval", ("eval.checkpoint=outputs/a/epd.ckpt",)),
    ]
