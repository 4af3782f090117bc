"""Pictures through all commands: looked at, trained on, scored, sampled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import autocast
from autocast.errors import ConfigError
from autocast.runs.launch import run
from autocast.runs.request import Request
from autocast.runs.using import inspect, sample

pytestmark = pytest.mark.e2e

MODEL = ("model.encoder.widths=[8]", "model.encoder.blocks=[1]", "model.encoder.latent_channels=2")
SMALL = (*MODEL, "trainer.max_epochs=2", "datamodule.batch_size=8")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty discs of any colour below a red bar, in two classes; one of them is larger than the others."""
    path, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for i in range(40):
        (path / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        rows, columns = np.mgrid[:8, :12]
        inside = np.hypot(rows - rng.uniform(3, 6), columns - rng.uniform(3, 9)) < 2
        picture = np.where(inside[..., None], rng.uniform(0, 1, 3), 0)
        picture[:2] = (1, 0, 0)
        zoom = 2 if i == 7 else 1
        large = (picture * 255).astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1)
        Image.fromarray(large).save(path / f"class{i % 2}" / f"{i:02}.png")
    return path


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "photos" / "00"
    words = (*SMALL, "datamodule.size=[8,12]", "datamodule.subset=0.5")
    assert run(Request("ae", words, dataset=str(photos), workdir=directory)) == 0
    return directory


def test_an_autoencoder_of_pictures_is_trained_and_reopened(trained: Path) -> None:
    config = yaml.safe_load((trained / "autoencoder.yaml").read_text())
    settings = config["datamodule"]
    assert (settings["n_steps_output"], settings["normalisation"], settings["size"]) == (0, "minmax", [8, 12])
    record = json.loads((trained / ".autocast/ae/train/run.json").read_text())
    assert record["spec"]["grid_shape"] == [8, 12]
    assert json.loads((trained / "ae/latent_statistics.json").read_text())["n_frames"] == 16
    model = autocast.load(str(trained))
    pictures = torch.rand(3, 1, 8, 12, 3)
    assert model.reconstruct(pictures).shape == pictures.shape
    z = model.normaliser.normalise(torch.tensor([[0.0] * 3, [1.0] * 3]))
    assert (z[0] == -1).all()
    assert (z[1, 0] - 1).abs() < 1e-4  # red is everywhere at its largest
    torch.testing.assert_close(model.normaliser.denormalise(z), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_all_test_pictures_are_scored(trained: Path) -> None:
    words = ("eval.video=false", "eval.metrics=[vrmse,mae]")
    assert run(Request("eval", words, workdir=trained)) == 0
    record = json.loads((trained / "eval/evaluation.json").read_text())
    assert (record["lengths"], record["rollout"]["n_steps_input"]) == ([1] * 4, 0)
    assert (trained / "eval/report.html").is_file()


def test_samples_are_upright_and_in_colour(trained: Path, tmp_path: Path) -> None:
    wishes = {"samples": 4, "checkpoint": "best", "prior": "auto", "seed": 0, "out": tmp_path, "overwrite": False}
    assert sample(str(trained), wishes, output_base=None, json=False, dry_run=False) == 0
    grid = np.asarray(Image.open(tmp_path / "vae_input_grid.png"))
    assert grid.shape[1] > grid.shape[0]
    assert (grid[0, :40] == (255, 0, 0)).all()


def test_a_look_at_pictures(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "class1" / "07.png").rename(photos / "large")
    try:
        assert inspect(str(photos), video=None, json=False, dry_run=False) == 0
    finally:
        (photos / "large").rename(photos / "class1" / "07.png")
    told = capsys.readouterr().out
    for word in ("pictures layout", "row 8 × column 12", "31 pictures", "red", "drawn for them"):
        assert word in told


@pytest.mark.parametrize("size", ["8,12", "[8, 12]"])
def test_a_look_at_pictures_of_several_sizes(photos: Path, size: str, tmp_path: Path, capsys) -> None:
    sheet = tmp_path / "sheet.png"
    assert inspect(str(photos), size=size, video=sheet, json=False, dry_run=False) == 0
    told = capsys.readouterr().out
    for word in ("row 8 × column 12", "1 of 40 pictures are resized", "'datamodule.size=[8,12]'"):
        assert word in told
    assert sheet.is_file()


@pytest.mark.parametrize("size", ["0", "8x12", "8,", "8,12,3", "-8"])
def test_what_is_no_size_to_look_at(photos: Path, size: str) -> None:
    with pytest.raises(ConfigError, match=f"--size {size}: give height and width"):
        inspect(str(photos), size=size, video=None, json=False, dry_run=True)


def test_what_pictures_cannot_be_used_for(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"dataset": str(photos), "workdir": tmp_path / "run"}
    assert run(Request("ae", SMALL, **flags)) == 2
    assert "1 of 16 × 24 (class1/07.png). Set datamodule.size" in capsys.readouterr().err
    words = ("datamodule.size=[8,12]", "model.processor=direct")
    assert run(Request("epd", words, **flags)) == 2
    assert "an emulator forecasts at least one step" in capsys.readouterr().err
    words = (*SMALL, "datamodule.size=[8,12]", "datamodule=directory")
    assert run(Request("ae", words, **flags)) == 2
    assert "Set datamodule=images" in capsys.readouterr().err
