"""What is found about cached latents before anything starts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from autocast.data.headers import describe
from autocast.data.latents_manifest import LatentsManifest
from autocast.preflight import data_digest, preflight
from autocast.runs.compose import compose
from autocast.runs.identity import sha256
from autocast.runs.place import Place
from autocast.runs.request import SLURM, Request
from tests.runs.plans import trained

PLACE = Place("processor", "train", None)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a processor whose data and autoencoder are there."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "valid", "test"):
        Path("waves", split).mkdir(parents=True)
        with h5py.File(f"waves/{split}/data.h5", "w") as file:
            file["data"] = np.zeros((2, 5, 8, 12, 3), np.float32)
    checkpoint = trained(Path("outputs/rd/ae"), kind="ae")
    steps = {"n_steps_input": 1, "n_steps_output": 1, "stride": 1}
    return {
        "datamodule": {"data_path": "waves", **steps},
        "autoencoder_checkpoint": str(checkpoint),
        "latents": "outputs/rd/ae/ae/latents/cafe0002",
    }


def cached(config: dict[str, Any], **other: Any) -> None:
    spec = describe("waves").spec
    assert spec is not None
    splits = {"train": (5, 5), "valid": (5, 5), "test": (5, 5)}
    manifest = LatentsManifest(
        directory=Path(config["latents"]),
        checkpoint=config["autoencoder_checkpoint"],
        checkpoint_sha256=sha256(Path(config["autoencoder_checkpoint"])),
        data_path="waves",
        data_digest=data_digest({"data_path": "waves"}),
        dtype="float32",
        fields=spec,
        latents=dataclasses.replace(spec, grid_shape=(4, 6)),
        splits=splits,
        statistics={"mean": [0.0, 0.0, 0.0]},
    )
    manifest = dataclasses.replace(manifest, **other)
    manifest.directory.mkdir(parents=True)
    (manifest.directory / "manifest.json").write_text(json.dumps(manifest.to_dict()))
    for split in splits:
        manifest.file(split).touch()


def found(config: dict[str, Any], **flags: Any) -> list[tuple[str, str]]:
    problems, _ = preflight(config, Request("processor", dry_run=True, **flags), PLACE)
    return [(problem.subject, problem.message) for problem in problems]


def test_a_cache_that_fits_is_no_problem(config: dict[str, Any]):
    cached(config)
    assert found(config) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"checkpoint_sha256": "a" * 64}, "not by the checkpoint of this run"),
        ({"data_digest": "b" * 64}, "not from the data of this run"),
        ({"statistics": None}, "are not complete"),
        (None, "there is no cache in outputs/rd/ae/ae/latents/cafe0002"),
    ],
)
def test_a_cache_that_does_not_fit_is_one(config: dict[str, Any], other: dict[str, Any] | None, said: str):
    if other is not None:
        cached(config, **other)
    ((subject, message),) = found(config)
    assert subject == "latents"
    assert said in message
    assert "autocast cache-latents" in message


def test_what_is_still_to_be_made_is_left_to_the_job(config: dict[str, Any]):
    run = Path("outputs/rd/ae/.autocast/ae")
    (run / "train/DONE.json").unlink()
    (run / "latents-cafe0002").mkdir()
    (run / "latents-cafe0002/run.json").write_text("{}")
    assert found(config, mode=SLURM) == []
    assert len(found(config)) == 1


@pytest.mark.parametrize(
    ("step", "words", "said"),
    [
        (1, (), ""),
        (0, (), "before their first training step"),
        (1, ("model.encoder=permute_concat",), "only moves axes"),
        (1, ("model.encoder=identity",), "only moves axes"),
    ],
)
def test_latents_are_not_cached_with_an_encoder_that_has_learnt_nothing(
    config: dict[str, Any], step: int, words: tuple[str, ...], said: str
):
    spec = describe("waves").spec
    assert spec is not None
    tiny = ("model.encoder.widths=[4]", "model.encoder.blocks=[1]") if not words else ()
    composed = compose(Request("ae", (*words, *tiny, "datamodule.data_path=waves"))).config
    record = {"kind": "ae", "config": OmegaConf.to_container(composed), "spec": spec.to_dict()}
    torch.save({"state_dict": {}, "global_step": step, "autocast": record}, config["autoencoder_checkpoint"])
    problems, unchecked = preflight(config, Request("cache-latents"), PLACE)
    assert unchecked == []
    assert [problem.subject for problem in problems] == (["autoencoder_checkpoint"] if said else [])
    assert all(said in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("command", "words", "mode", "said"),
    [
        ("train-eval", (), "latent", "IdentityEncoder"),
        ("train-eval", (), "ambient", ""),
        ("train-eval", ("model.encoder=dc", "model.encoder.widths=[4]", "model.encoder.blocks=[1]"), "latent", ""),
        ("eval", (), "encode_once", "IdentityEncoder"),
        ("eval", (), None, ""),
    ],
)
@pytest.mark.usefixtures("config")
def test_a_rollout_in_a_space_that_there_is_not_is_found_before_the_training(
    command: str, words: tuple[str, ...], mode: str | None, said: str
):
    tiny = ("model.processor=direct", "model.processor.backbone.width=4", "datamodule.data_path=waves")
    composed = OmegaConf.to_container(compose(Request("epd", (*words, *tiny))).config, resolve=True)
    section = {"eval": {"rollout": mode}}
    problems, _ = preflight(composed | section, Request(command), Place("epd", "train", None), section)
    assert [problem.subject for problem in problems] == ([f"eval.rollout={mode}"] if said else [])
    assert all(said in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("n_valid", "section", "subject", "said"),
    [
        (2, {"calibrate": "spread"}, "eval.calibrate=spread", "deterministic and has no spread"),
        (
            2,
            {"calibrate": "spread", "n_members": 1},
            "eval.calibrate=spread, eval.n_members=1",
            "one member has no spread",
        ),
        (2, {"calibrate": "both"}, "eval.calibrate=both", "no such method"),
        (1, {"calibrate": "conformal"}, "eval.calibrate=conformal", "has 1 trajectories"),
        (2, {"calibrate": "conformal"}, None, ""),
    ],
)
@pytest.mark.usefixtures("config")
def test_what_cannot_be_calibrated_is_found_before_the_training(
    n_valid: int, section: dict[str, Any], subject: str | None, said: str
):
    with h5py.File("waves/valid/data.h5", "w") as file:
        file["data"] = np.zeros((n_valid, 5, 8, 12, 3), np.float32)
    words = ("model.processor=direct", "model.processor.backbone.width=4", "datamodule.data_path=waves")
    composed = OmegaConf.to_container(compose(Request("epd", words)).config, resolve=True)
    request, whole = Request("train-eval"), {"eval": section}
    problems, _ = preflight(composed | whole, request, Place("epd", "train", None), whole)
    assert [problem.subject for problem in problems] == ([subject] if subject else [])
    assert all(said in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("words", "subject"),
    [
        (("trainer.compile=reduce-overhead", "trainer.accumulate_grad_batches=2"), "trainer.compile"),
        (("trainer=sharded", "optimizer=soap"), "optimizer=soap"),
        (("trainer.compile=default", "trainer.accumulate_grad_batches=2"), None),
        (("optimizer=soap",), None),
    ],
)
def test_settings_that_are_no_good_together_are_found_before_anything_is_written(
    config: dict[str, Any], words: tuple[str, ...], subject: str | None
):
    request = Request("ae", words, dataset="waves", dry_run=True)
    resolved = OmegaConf.to_container(compose(request).config, resolve=True)
    problems, _ = preflight(resolved, request, Place("ae", "train", None))
    assert [problem.subject.split(",")[0] for problem in problems] == ([subject] if subject else [])


@pytest.mark.parametrize(("key", "value"), [("size", [3, 4]), ("column", "SDCT")])
def test_settings_of_pictures_are_themselves_the_problem_of_fields(config: dict[str, Any], key: str, value: Any):
    ((subject, message),) = found({**config, "datamodule": {**config["datamodule"], key: value}})
    assert subject == f"datamodule.{key}={value}"
    assert "pictures" in message
