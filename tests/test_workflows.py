"""The main job, end to end, at toy size: simulate, train, continue, evaluate, reopen, forecast."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

import autocast
from autocast.runs.launch import run
from autocast.runs.request import Request
from autocast.runs.using import benchmark, forecast, inspect, simulate
from autocast.runs.watch.why import show as explain

pytestmark = pytest.mark.e2e

SIMULATION = ("simulator.grid_shape=[16,16]", "simulator.n_frames=10", "splits={train: 6, valid: 2, test: 3}")
SMALL = ("trainer.max_epochs=2", "datamodule.batch_size=16")
SMALL_EPD = (*SMALL, "model.processor.backbone.width=8", "model.processor.backbone.levels=1")


@pytest.fixture(scope="module")
def dataset(simulated: Callable[..., Path]) -> Path:
    return simulated(*SIMULATION)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with an autoencoder, an emulator of its latents, and an evaluation."""
    directory = tmp_path_factory.mktemp("runs") / "rd" / "00"
    shared = {"dataset": str(dataset), "workdir": directory}
    assert run(Request("ae", SMALL, **shared)) == 0
    assert run(Request("epd", SMALL_EPD, autoencoder=str(directory), **shared)) == 0
    assert run(Request("eval", ("eval.n_members=3", "eval.save_rollouts=true"), workdir=directory)) == 0
    return directory


def test_the_run_directory_holds_what_it_should(trained: Path) -> None:
    for name in (
        "autoencoder.yaml",
        "autoencoder.ckpt",
        "encoder_processor_decoder.yaml",
        "encoder_processor_decoder.ckpt",
        "ae/checkpoints/last.ckpt",
        "ae/latent_statistics.json",
        "epd/metrics.jsonl",
        "eval/config.yaml",
        "eval/metrics.csv",
        "eval/rollout_metrics.csv",
        "eval/report.html",
        ".autocast/ae/train/DONE.json",
        ".autocast/epd/train/DONE.json",
        ".autocast/epd/eval/DONE.json",
    ):
        assert (trained / name).is_file(), name
    assert list((trained / "eval" / "videos").iterdir())


def test_a_stage_records_where_it_comes_from(trained: Path, dataset: Path) -> None:
    record = json.loads((trained / ".autocast/epd/train/run.json").read_text())
    digest = json.loads((dataset / "manifest.json").read_text())["digest"]
    assert record["data_digest"] == digest
    assert [parent["role"] for parent in record["parents"]] == ["autoencoder_checkpoint"]
    assert record["spec"]["channel_names"] == ["u", "v"]
    assert {"uid", "argv", "packages", "seeds", "signature"} <= record.keys()


def test_latents_are_scaled_by_what_the_autoencoder_s_training_measured(trained: Path) -> None:
    done = json.loads((trained / ".autocast/ae/train/DONE.json").read_text())
    measured = json.loads((trained / "ae/latent_statistics.json").read_text())
    assert measured["checkpoint_sha256"] == done["products"]["autoencoder.ckpt"]["sha256"]
    assert "ae/latent_statistics.json" in done["products"]
    assert measured["n_frames"] == 6 * 10
    scale = autocast.load(str(trained)).latent_normaliser
    torch.testing.assert_close(scale.mean, torch.tensor(measured["mean"]))
    torch.testing.assert_close(scale.std, torch.tensor(measured["std"]))


def test_one_line_of_metrics_per_epoch(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "epd/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all({"lr", "is_best", "train/loss", "val/objective", "val/vrmse"} <= line.keys() for line in lines)


def test_checkpoints_load_without_executing_anything(trained: Path) -> None:
    for name in ("autoencoder.ckpt", "encoder_processor_decoder.ckpt"):
        checkpoint = torch.load(trained / name, weights_only=True)
        assert {"state_dict", "optimizer_states", "autocast"} <= checkpoint.keys()


def test_load_and_rollout_in_python(trained: Path) -> None:
    emulator = autocast.load(str(trained))
    x = torch.randn(2, 1, 16, 16, 2)
    found = emulator.rollout(x, n_steps=3, n_members=4, seed=1)
    assert found.shape == (2, 4, 3, 16, 16, 2)
    torch.testing.assert_close(found, emulator.rollout(x, n_steps=3, n_members=4, seed=1))


def test_an_evaluation_repeats_to_the_byte(trained: Path) -> None:
    assert run(Request("eval", ("eval.n_members=3", "eval.video=false", "eval.name=2"), workdir=trained)) == 0
    for name in ("metrics.csv", "rollout_metrics.csv"):
        assert (trained / "eval" / name).read_bytes() == (trained / "eval-2" / name).read_bytes()


def test_another_batch_size_gives_the_same_scores(trained: Path) -> None:
    words = ("eval.n_members=3", "eval.video=false", "eval.name=3", "eval.batch_size=2")
    assert run(Request("eval", words, workdir=trained)) == 0
    one, other = (_values(trained / name / "rollout_metrics.csv", lead=5) for name in ("eval", "eval-3"))
    assert one.keys() == other.keys()
    assert any(metric.startswith("psrmse") for _, metric, *_ in one)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-5, atol=1e-5)


def test_an_evaluation_that_is_there_is_not_repeated(trained: Path) -> None:
    before = (trained / "eval/report.html").stat().st_mtime_ns
    assert run(Request("eval", ("eval.n_members=3", "eval.save_rollouts=true"), workdir=trained)) == 0
    assert run(Request("eval", ("eval.n_members=2",), workdir=trained)) == 2
    assert (trained / "eval/report.html").stat().st_mtime_ns == before


def test_a_film_that_fails_loses_nothing_else(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trajectory_0001.mp4").mkdir()
    words = ("eval.name=films", "eval.n_members=2", "eval.n_steps=2", "eval.baselines=[]", f"eval.video_dir={tmp_path}")
    assert run(Request("eval", words, workdir=trained)) == 1
    told = capfd.readouterr()
    assert "no film of trajectory 1: IsADirectoryError" in told.out + told.err
    assert "1 of 3 films could not be drawn" in told.err
    assert (trained / "eval-films/report.html").is_file()
    assert (tmp_path / "trajectory_0002.mp4").is_file()
    assert next((trained / "eval-films/.parts").glob("*.npz"), None)  # of which the next call makes up for it


def test_the_scored_rollouts_are_kept(trained: Path) -> None:
    with h5py.File(trained / "eval/rollouts.hdf5") as h:
        assert h["t0_fields/u"].shape == (3 * 3, 10, 16, 16)


def test_a_reopened_run_keeps_its_own_settings(trained: Path) -> None:
    frozen = yaml.safe_load((trained / "encoder_processor_decoder.yaml").read_text())
    assert frozen["model"]["processor"]["backbone"]["width"] == 8
    used = yaml.safe_load((trained / "eval/config.yaml").read_text())
    assert used["model"] == frozen["model"]
    assert used["datamodule"]["batch_size"] == 16


def test_forecast_streams_to_a_file(trained: Path, dataset: Path, tmp_path: Path) -> None:
    wanted = {"source": str(dataset), "out": tmp_path / "f.hdf5", "n_steps": 4, "n_members": 2, "split": "test"}
    words = {"seed": 0, "batch_size": 2, **wanted}
    assert forecast(str(trained), words, output_base=None, overwrite=False, json=False, dry_run=False) == 0
    emulator = autocast.load(str(trained))
    # A data module that awaits collection may hold the file: HDF5 wants it opened as it was, without a lock.
    with h5py.File(dataset / "data/test/reaction_diffusion.hdf5", locking=False) as h:
        x = torch.tensor(np.stack([h["t0_fields/u"][:, :1], h["t0_fields/v"][:, :1]], axis=-1))
    expected = emulator.rollout(x, 4, n_members=2, seed=0).flatten(0, 1)
    with h5py.File(tmp_path / "f.hdf5") as h:
        assert h["t0_fields/u"].shape == (6, 5, 16, 16)
        np.testing.assert_allclose(h["t0_fields/u"][:, 1:], expected[..., 0], rtol=1e-4, atol=1e-5)
    again = {**words, "source": str(tmp_path / "f.hdf5"), "out": tmp_path / "g.hdf5"}
    assert forecast(str(trained), again, output_base=None, overwrite=False, json=False, dry_run=False) == 0
    with h5py.File(tmp_path / "g.hdf5") as h:
        assert h["t0_fields/u"].shape == (12, 5, 16, 16)


def test_a_benchmark_measures_a_run_and_leaves_it_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in trained.rglob("*") if file.is_file()}
    wanted = {"members": "1,2", "batch_sizes": "1,2", "steps": 3, "seconds": 5.0, "device": "cpu", "compile": "false"}
    words = {**wanted, "simulator": True, "out": None}
    assert benchmark(str(trained), words, output_base=None, json=False, dry_run=False) == 0
    told = capsys.readouterr().out
    for word in ("params", "rollout", "ReactionDiffusion", "paid off", "next"):
        assert word in told
    record = json.loads((trained / "eval/benchmark.json").read_text())
    rows = _rows(trained / "eval/benchmark.csv")
    assert [row["status"] for row in rows] == [row["status"] for row in record["rows"]]
    assert {(row["batch_size"], row["n_members"]) for row in rows} == {(b, m) for b in "12" for m in "12"}
    assert record["training_seconds"].keys() == {"ae", "epd"}
    assert 0 < record["model"]["n_trained"] < record["model"]["n_parameters"]
    assert (record["model"]["n_steps"], record["simulator"]["n_frames"]) == (3, 3)
    for name in ("benchmark.csv", "benchmark.json"):
        (trained / "eval" / name).unlink()
    assert {file: file.stat().st_mtime_ns for file in trained.rglob("*") if file.is_file()} == before
    autoencoder = str(trained / "autoencoder.ckpt")
    words["out"] = tmp_path / "cost"
    assert benchmark(autoencoder, words, output_base=None, json=True, dry_run=False) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["kind"], record["reconstructs"], record["simulator"]) == ("ae", True, None)
    assert record["products"] == [str(tmp_path / "cost" / name) for name in ("benchmark.csv", "benchmark.json")]
    assert record["model"]["n_trained"] == record["model"]["n_parameters"]


def test_forecast_uses_the_checkpoint_that_it_is_given(trained: Path, dataset: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.ckpt"
    checkpoint = torch.load(trained / "epd/checkpoints/previous.ckpt", weights_only=True)
    for value in checkpoint["state_dict"].values():
        value.add_(0.1)
    torch.save(checkpoint, older)
    file = trained / "epd/checkpoints/epoch-0007.ckpt"
    older.rename(file)
    try:
        words = {"source": str(dataset), "out": tmp_path / "f.hdf5", "n_steps": 2, "n_members": 1, "split": "test"}
        again = {**words, "out": tmp_path / "g.hdf5"}
        for run_, wanted in ((str(trained), words), (str(file), again)):
            wanted |= {"seed": 0, "batch_size": 2}
            assert forecast(run_, wanted, output_base=None, overwrite=False, json=False, dry_run=False) == 0
        with h5py.File(tmp_path / "f.hdf5") as f, h5py.File(tmp_path / "g.hdf5") as g:
            assert not np.allclose(f["t0_fields/u"][:, 1:], g["t0_fields/u"][:, 1:])
    finally:
        file.unlink()


def test_a_checkpoint_away_from_its_run_loads(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.ckpt"
    file.write_bytes((trained / "encoder_processor_decoder.ckpt").read_bytes())
    x = torch.randn(1, 1, 16, 16, 2)
    torch.testing.assert_close(autocast.load(str(file)).rollout(x, 2), autocast.load(str(trained)).rollout(x, 2))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("datamodule.stride=2",), "datamodule.stride"),
        (("datamodule.n_steps_input=2",), "datamodule.n_steps_input"),
        (("eval.metrics=[rmse,vrmsee]",), "vrmse"),
        ((), "channel names"),
    ],
)
def test_an_evaluation_of_other_data_or_steps_is_refused(
    trained: Path, tmp_path: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {}
    if not words:
        other["dataset"] = str(tmp_path / "gray_scott")
        small = ("simulator.grid_shape=[16,16]", "simulator.n_frames=4", "splits={train: 2, valid: 1, test: 1}")
        assert simulate(Request("simulate", ("simulator=gray_scott", *small), dataset=other["dataset"])) == 0
    assert run(Request("eval", (*words, "eval.name=no"), workdir=trained, **other)) == 2
    assert told in capsys.readouterr().err
    assert not (trained / "eval-no").exists()


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    trained: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request("ae", ("model.encoder.latent_channels=3",), dataset=str(dataset), workdir=tmp_path / "no")
    assert run(dataclasses.replace(request, init_from=str(trained))) == 2
    said = capsys.readouterr().err
    assert "--init-from" in said
    assert "init.fresh" in said
    assert run(Request("ae", ("init.fresh=[normaliser]",), dataset=str(dataset), workdir=tmp_path / "no")) == 2
    assert "init.fresh" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_training_starts_from_weights_of_another_model(trained: Path, dataset: Path, tmp_path: Path) -> None:
    """More latent channels: what holds them is new, in the encoder's last and the decoder's first convolution."""
    fresh = "[autoencoder.encoder.network.tail,autoencoder.decoder.network.head]"
    words = (*SMALL, "model.encoder.latent_channels=3", f"init.fresh={fresh}", "trainer.max_epochs=1")
    request = Request("ae", words, dataset=str(dataset), workdir=tmp_path / "a", init_from=str(trained))
    assert run(request) == 0
    parents = json.loads((tmp_path / "a/.autocast/ae/train/run.json").read_text())["parents"]
    assert [parent["role"] for parent in parents] == ["init_from"]


def test_inspect_draws(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sheet.png", "film.mp4"):
        assert inspect(str(dataset), video=tmp_path / name, json=False, dry_run=False) == 0
        assert (tmp_path / name).stat().st_size > 1000
    assert inspect(str(dataset), video=None, json=True, dry_run=False) == 0
    assert '"findings": []' in capsys.readouterr().out.rpartition("film.mp4")[2]


def test_an_autoencoder_is_evaluated_by_itself(dataset: Path, tmp_path: Path) -> None:
    assert run(Request("ae", SMALL, dataset=str(dataset), workdir=tmp_path / "a")) == 0
    assert run(Request("eval", ("eval.video=false",), workdir=tmp_path / "a")) == 0
    models = {row["model"] for row in _rows(tmp_path / "a/eval/rollout_metrics.csv")}
    assert models == {"model"}
    assert [row["active"] for row in _rows(tmp_path / "a/eval/latents.csv")] == ["True"] * 16


def test_an_end_to_end_emulator_and_the_ensemble_train(dataset: Path, tmp_path: Path) -> None:
    words = ("trainer.max_epochs=1", "model.encoder=dc", "model.processor=ensemble")
    assert run(Request("epd", words, dataset=str(dataset), workdir=tmp_path / "e")) == 0
    lines = (tmp_path / "e/epd/metrics.jsonl").read_text().splitlines()
    assert "train/loss/reconstruction" in json.loads(lines[0])


def test_a_killed_training_goes_on(dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    words = ["datamodule.batch_size=16", "trainer.max_epochs=40", "checkpoint.every_n_epochs=5"]
    command = [sys.executable, "-m", "autocast", "ae", "--dataset", str(dataset), "--workdir", str(directory), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    metrics = directory / "ae/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < 3:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "the training never got to its third epoch"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (directory / ".autocast/ae/train/DONE.json").exists()
    assert run(Request("ae", resume_from=str(directory))) == 0
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 41))
    assert (directory / ".autocast/ae/train/DONE.json").is_file()
    assert autocast.load(str(directory)).reconstructs


def test_a_finished_run_says_so_and_a_longer_one_goes_on(dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "longer"
    request = Request("ae", SMALL, dataset=str(dataset), workdir=directory)
    assert run(request) == 0
    assert run(request) == 0
    assert run(Request("ae", resume_from=str(directory))) == 0
    lines = (directory / "ae/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert run(Request("ae", ("trainer.max_epochs=3",), resume_from=str(directory))) == 0
    assert len((directory / "ae/metrics.jsonl").read_text().splitlines()) == 3


def test_what_cannot_be_built_is_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    words = ("model.encoder.widths=[8,8,8,8,8,8]", "model.encoder.blocks=[1,1,1,1,1,1]")
    assert run(Request("ae", words, dataset=str(dataset), workdir=tmp_path / "no")) == 2
    assert not (tmp_path / "no").exists()


def test_a_processor_is_trained_on_cached_latents_evaluated_and_continued(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    caches = {"autoencoder": str(trained), "workdir": tmp_path / "caches"}
    assert run(Request("cache-latents", ("dtype=bfloat16",), **caches)) == 0
    (latents,) = (tmp_path / "caches/ae/latents").iterdir()
    words = (*SMALL_EPD, f"latents={latents}")
    directory = tmp_path / "p"
    assert run(Request("processor", words, autoencoder=str(trained), workdir=directory)) == 0
    scored = ("eval.video=false", "eval.metrics=[vrmse]", "eval.baselines=[persistence]", "eval.n_members=2")
    for mode, name in (("latent", "z"), ("ambient", "fields")):
        assert run(Request("eval", (*scored, f"eval.rollout={mode}", f"eval.name={name}"), workdir=directory)) == 0
    channels = [
        {row["channel"] for row in _rows(directory / f"eval-{name}/rollout_metrics.csv")} for name in ("z", "fields")
    ]
    assert channels[0] == {"all", *(f"z{c}" for c in range(16))}
    assert channels[1] == {"all", "u", "v"}
    assert run(Request("processor", ("trainer.max_epochs=3",), resume_from=str(directory))) == 0
    epochs = [json.loads(line)["epoch"] for line in (directory / "processor/metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]
    x = torch.randn(1, 1, 16, 16, 2)
    assert autocast.load(str(directory)).rollout(x, n_steps=2, n_members=2).shape == (1, 2, 2, 16, 16, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("bottleneck", "objective"), [("gaussian", "vae"), ("vq_ema", "vq"), ("fsq", "mse")])
def test_distributions_and_codes_go_through_the_same_commands(
    bottleneck: str, objective: str, dataset: Path, tmp_path: Path
) -> None:
    words = (f"model.bottleneck={bottleneck}", f"model.objective={objective}", "trainer.max_epochs=2")
    ae, processor = tmp_path / "ae", tmp_path / "p"
    assert run(Request("ae", words, dataset=str(dataset), workdir=ae)) == 0
    rows = [json.loads(line) for line in (ae / "ae/metrics.jsonl").read_text().splitlines()]
    terms = {"vae": "kl", "vq": "commitment", "mse": "mse"}
    assert {f"train/loss/{terms[objective]}", f"train/weight/{terms[objective]}"} <= rows[-1].keys()
    assert ("val/active_units" if bottleneck == "gaussian" else "val/perplexity") in rows[-1]
    assert run(Request("cache-latents", autoencoder=str(ae))) == 0
    assert run(Request("processor", SMALL_EPD, autoencoder=str(ae), workdir=processor)) == 0
    scored = ("eval.video=false", "eval.metrics=[vrmse]", "eval.baselines=[reconstruction]", "eval.n_members=2")
    assert run(Request("eval", scored, workdir=processor)) == 0
    models = {row["model"] for row in _rows(processor / "eval/rollout_metrics.csv")}
    assert models == {"model", "reconstruction", "ambient"}


PERCEPTUAL = ("objective=vae_perceptual", "model.bottleneck=gaussian", *SMALL, "trainer.max_epochs=1")


def test_an_autoencoder_is_trained_by_features_of_its_own_encoder(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Request("ae", PERCEPTUAL, dataset=str(dataset), workdir=tmp_path)) == 0
    assert "0 to 0.1 (linear, 20 %) perceptual (encoder)" in capsys.readouterr().out
    (row,) = (json.loads(line) for line in (tmp_path / "ae/metrics.jsonl").read_text().splitlines())
    assert min(row[f"train/{what}/perceptual"] for what in ("loss", "weight")) > 0


@pytest.mark.slow
def test_published_weights_are_missed_before_a_training_and_not_after(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An evaluation does without them, and a run that goes on finds them elsewhere."""
    weights, moved, directory = tmp_path / "vgg16.pth", tmp_path / "moved.pth", tmp_path / "vgg"
    shapes = {"weight": (64, 3, 3, 3), "bias": (64,)}
    torch.save({f"features.0.{name}": torch.randn(shape) for name, shape in shapes.items()}, weights)
    term, given = "model.objective.terms.perceptual", {"dataset": str(dataset), "workdir": directory}
    words = (*PERCEPTUAL, f"{term}.features=vgg16", f"perceptual.weights_file={weights}")
    assert run(Request("ae", (*words, f"{term}.layers=[3]"), **given)) == 2
    assert "features.2.weight is missing" in "".join(capsys.readouterr())
    assert not directory.exists()
    assert run(Request("ae", (*words, f"{term}.layers=[1]"), **given)) == 0
    state = torch.load(directory / "autoencoder.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if "objective" in name]
    weights.rename(moved)
    scored = ("eval.video=false", "eval.metrics=[vrmse]", "eval.baselines=[]")
    assert run(Request("eval", scored, workdir=directory)) == 0
    longer = ("trainer.max_epochs=2",)
    assert run(Request("ae", longer, resume_from=str(directory))) == 2
    assert run(Request("ae", (*longer, f"perceptual.weights_file={moved}"), resume_from=str(directory))) == 0
    rows = [json.loads(line) for line in (directory / "ae/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert min(row["train/loss/perceptual"] for row in rows) > 0


def test_an_autoencoder_is_pictured_while_it_is_trained_and_its_collapse_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("model.bottleneck=gaussian", "model.objective=vae", "model.objective.weights.kl=100", "callbacks=none")
    words += ("model.encoder.widths=[8]", "model.encoder.blocks=[0]", "model.encoder.latent_channels=2")
    words += (
        "optimizer.learning_rate=0.05",
        "trainer.max_epochs=7",
        "datamodule.batch_size=4",
        "samples.first_epochs=1",
    )
    directory = tmp_path / "collapsed"
    assert run(Request("ae", words, dataset=str(dataset), workdir=directory)) == 0
    names = {f"{name}_epoch_{epoch:03}.png" for name in ("reconstruction", "generated") for epoch in (1, 5)}
    assert {file.name for file in (directory / "ae/samples").iterdir()} == names
    events = [json.loads(line) for line in (directory / ".autocast/ae/train/events.jsonl").read_text().splitlines()]
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert len(notes) == 1
    assert notes[0].startswith("the posterior has collapsed: 0 channels of the latents are active")
    capsys.readouterr()
    assert explain(str(directory), kind=None, stage=None, json=False, output_base=None) == 0
    assert "posterior collapse   ae train: the posterior has collapsed" in capsys.readouterr().out


def test_an_unrolled_training_is_evaluated_like_any_other(dataset: Path, tmp_path: Path) -> None:
    unrolled = ("training=unrolled", "training.n_windows=3", "training.curriculum.every=1", "model.processor=direct")
    assert run(Request("epd", (*SMALL_EPD, *unrolled), dataset=str(dataset), workdir=tmp_path / "u")) == 0
    words = ("eval.video=false", "eval.metrics=[vrmse]", "eval.baselines=[persistence]", "eval.n_steps=5")
    assert run(Request("eval", words, workdir=tmp_path / "u")) == 0
    assert {int(row["lead_time"]) for row in _rows(tmp_path / "u/eval/rollout_metrics.csv")} == set(range(1, 6))
    assert autocast.load(str(tmp_path / "u")).n_steps_output == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("training.n_windows=2",), "training.n_windows=2: FlowMatching learns one window at a time"),
        (("training.n_windows=10", "model.processor=direct"), "windows span 11 frames, but"),
    ],
)
def test_what_cannot_be_unrolled_is_refused(
    dataset: Path, tmp_path: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Request("epd", words, dataset=str(dataset), workdir=tmp_path / "no")) == 2
    output = capsys.readouterr()
    assert told in " ".join((output.out + output.err).split())
    assert not (tmp_path / "no").exists()


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def _values(file: Path, *, lead: int) -> dict[tuple[str, ...], float]:
    names = ("model", "metric", "kind", "lead_time", "channel")
    rows = (row for row in _rows(file) if int(row["lead_time"]) <= lead)
    return {tuple(row[name] for name in names): float(row["value"]) for row in rows}
