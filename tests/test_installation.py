"""The package as a user has it: installed from its wheel, outside the repository; old runs under newer code."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.e2e
TINY = ["simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 4, valid: 2, test: 2}"]


def autocast(*words: str, cwd: Path, package: Path) -> str:
    """Runs `python -m autocast` from a package elsewhere; returns standard output."""
    return output_of(sys.executable, "-m", "autocast", *words, cwd=cwd, env={**os.environ, "PYTHONPATH": str(package)})


def output_of(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def forked(forks: Path, tmp_path: Path) -> Callable[..., str]:
    """`forked(*words)` runs the package of this repository, in a fork; returns standard output."""
    return functools.partial(output_of, str(forks / "autocast"), cwd=tmp_path)


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(directory)]
    subprocess.run([*build, str(root)], check=True, timeout=300)
    (file,) = directory.glob("autocast-*.whl")
    return file


def test_the_wheel_runs_the_demo_in_an_empty_folder(wheel: Path, root: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, timeout=300)
    where = "import autocast; print(autocast.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=folder, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_relative_to(site)
    told = autocast("demo", "--quick", "--workdir", "run", cwd=folder, package=site)
    assert (folder / "run/eval/report.html").is_file()
    for command in ("data simulate", "ae", "epd", "eval"):
        assert f"autocast {command} --" in told
    assert (site / "autocast/slurm_templates").is_dir()
    assert not list(folder.glob("datasets"))


def test_a_run_keeps_its_settings_when_the_code_has_other_defaults(
    root: Path, tmp_path: Path, forked: Callable[..., str]
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    forked("data", "simulate", "--dataset", str(data), "simulator=reaction_diffusion", *TINY)
    small = ["trainer.max_epochs=1", "datamodule.batch_size=8"]
    forked("epd", "--dataset", str(data), "--workdir", str(run), *small)
    newer = tmp_path / "newer"
    for part in ("autocast", "configs", "slurm_templates"):
        shutil.copytree(root / part, newer / part, ignore=shutil.ignore_patterns("__pycache__"))
    _change(newer / "configs/backbone/unet.yaml", width=48, levels=2)
    _change(newer / "configs/sampler/euler.yaml", n_steps=9)
    _change(newer / "configs/datamodule/base.yaml", n_steps_input=3)
    shown = autocast("config", "show", "epd", cwd=tmp_path, package=newer)
    assert yaml.safe_load(shown)["model"]["processor"]["backbone"]["width"] == 48
    evaluate = ["eval", "--workdir", str(run), "eval.n_members=2", "eval.video=false"]
    forked(*evaluate)
    autocast(*evaluate, "eval.name=newer", cwd=tmp_path, package=newer)
    for name in ("metrics.csv", "rollout_metrics.csv"):
        assert (run / "eval" / name).read_bytes() == (run / "eval-newer" / name).read_bytes()


def test_weights_and_biases_offline_holds_the_whole_run(
    tmp_path: Path, read_wandb: Callable[[Path], Any], forked: Callable[..., str]
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    forked("data", "simulate", "--dataset", str(data), "simulator=reaction_diffusion", *TINY)
    words = ["trainer.max_epochs=3", "datamodule.batch_size=8", "trainer.log_every_n_steps=1", "logging=wandb"]
    words += ["checkpoint.every_n_epochs=2", "model.processor.backbone.width=8"]
    forked("train-eval", "--dataset", str(data), "--workdir", str(run), *words, "::eval::", "eval.n_members=2")
    uid = json.loads((run / ".autocast/epd/train/run.json").read_text())["uid"]
    files = sorted(run.glob("epd/logs/wandb/offline-run-*/*.wandb"))
    found = [read_wandb(file) for file in files]
    assert [run_id for run_id, _, _ in found] == [uid, uid]
    (_, config, training), (_, _, evaluation) = found
    assert config["model"]["processor"]["backbone"]["width"] == 8
    steps = [record["trainer/global_step"] for record in training if "trainer/global_step" in record]
    assert steps == sorted(set(steps))
    assert len(steps) >= 3
    kinds = {value for record in [*training, *evaluation] for key, value in record.items() if key.endswith("_type")}
    assert "video-file" in kinds
    assert {"images/separated", "image-file"} & kinds
    assert any("test/vrmse" in record for record in evaluation)


def _change(file: Path, **values: Any) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}))
