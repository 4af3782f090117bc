"""Caches are filled by trained encoders only, and processors train on them into complete emulators."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch

from autocast.assembly import (
    assemble_autoencoder,
    assemble_emulator,
    build_blank,
    load_autoencoder,
    load_weights,
    read_checkpoint,
)
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.datamodule import FieldDataModule
from autocast.data.latents import LatentDataModule
from autocast.data.normaliser import Normaliser
from autocast.data.splits import open_split
from autocast.data.well_writer import well_file
from autocast.emulators import AutoencoderModel, EncoderProcessorDecoder
from autocast.errors import CheckpointError, DataError
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.training.latent_cache import cache_latents
from autocast.types import FieldSpec

SHA = "a" * 64
DC = functools.partial(DeepCompressionEncoder, widths=[4], blocks=[0], latent_channels=3)
DIRECT = functools.partial(Direct, backbone=functools.partial(UNet, width=4, levels=1, blocks=1))


def write_data(path: Path, **changes) -> FieldDataModule:
    axes = {"dim_names": ("x", "y"), "grid_shape": (8, 12), "extent": (2.0, 3.0), "boundary": ("periodic", "wall")}
    names = {"dataset_name": path.name, "channel_names": ("u", "v"), "units": ("", ""), "time_step": 0.3}
    spec = FieldSpec(**(axes | names | changes))
    for split, n in (("train", 3), ("valid", 2)):
        file = path / "data" / split / "all.hdf5"
        with well_file(file, spec, n_trajectories=n, n_steps=7) as writer:
            for i in range(n):
                writer.write(i, torch.randn(7, *spec.grid_shape, 2).numpy())
    return FieldDataModule(path, n_steps_input=2, n_steps_output=1, batch_size=4)


@pytest.fixture
def data(tmp_path: Path) -> FieldDataModule:
    torch.manual_seed(0)
    return write_data(tmp_path / "toy")


def make_autoencoder(data: FieldDataModule, encoder: object = DC) -> AutoencoderModel:
    torch.manual_seed(1)
    return assemble_autoencoder(encoder, IdentityBottleneck, spec=data.spec, normaliser=data.normaliser).eval()


def write_checkpoint(model: torch.nn.Module, file: Path, global_step: int = 10) -> Path:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "global_step": global_step, "autocast": {}}, file)
    return file


def fill(model: AutoencoderModel, data: FieldDataModule, tmp_path: Path, **options) -> Path:
    file = write_checkpoint(model, tmp_path / "autoencoder.ckpt", **options)
    known = {"checkpoint": file, "checkpoint_sha256": SHA, "dtype": "float32", "batch_size": 4}
    return cache_latents(model, data, tmp_path / "cache", progress=lambda done, total: None, **known).directory


def test_the_cache_holds_what_the_encoder_gives(data, tmp_path):
    model = make_autoencoder(data)
    directory = fill(model, data, tmp_path)
    for split in ("train", "valid"):
        fields, latents = data.split(split), open_split(directory, split)
        for i in range(fields.n_trajectories):
            with torch.no_grad():
                wanted = model.to_latents(torch.from_numpy(fields.read(i, 0, 7))[None])[0]
            torch.testing.assert_close(torch.from_numpy(latents.read(i, 0, 7)), wanted)


def test_an_untrained_encoder_is_refused(data, tmp_path):
    with pytest.raises(CheckpointError, match="before their first training step"):
        fill(make_autoencoder(data), data, tmp_path, global_step=0)


def test_an_encoder_that_only_moves_axes_has_nothing_to_cache(data, tmp_path):
    with pytest.raises(CheckpointError, match="IdentityEncoder only moves axes"):
        fill(make_autoencoder(data, IdentityEncoder), data, tmp_path)


def test_other_fields_than_those_it_was_trained_on_are_refused(data, tmp_path):
    other = write_data(tmp_path / "other", grid_shape=(16, 12))
    with pytest.raises(DataError, match=r"grid_shape is \(16, 12\); the autoencoder was trained on \(8, 12\)"):
        fill(make_autoencoder(data), other, tmp_path)


def test_a_processor_trained_on_a_cache_is_a_complete_emulator(data, tmp_path, train):
    autoencoder = make_autoencoder(data)
    settings = {"n_steps_input": 2, "n_steps_output": 1, "batch_size": 4}
    keys = {"checkpoint_sha256": SHA, "data_digest": data.digest}
    latents = LatentDataModule(fill(autoencoder, data, tmp_path), **settings, **keys)
    parts = functools.partial(assemble_emulator, DC, IdentityBottleneck, DIRECT)
    model: EncoderProcessorDecoder = parts(
        spec=data.spec, normaliser=Normaliser.identity(2), n_steps_input=2, n_steps_output=1, frozen=True
    )
    load_autoencoder(model, tmp_path / "autoencoder.ckpt")
    model.fit_latents(iter(latents.train_dataloader()), latents.statistics)
    before = copy.deepcopy(model.processor.state_dict())
    summary = train(model, data=latents, max_epochs=2)
    checkpoint = read_checkpoint(summary.checkpoint_file)
    trained = build_blank("processor", parts, data.spec, {**settings, "stride": 1})
    load_weights(trained, checkpoint, summary.checkpoint_file)
    x = torch.from_numpy(data.split("valid").read(0, 0, 2))[None]
    torch.testing.assert_close(trained.to_latents(x), autoencoder.to_latents(x))
    torch.testing.assert_close(trained.latent_normaliser.mean, latents.normaliser.mean)
    assert trained.rollout(x, 3).shape == (1, 1, 3, 8, 12, 2)
    assert any(not torch.equal(before[k], v) for k, v in trained.processor.state_dict().items())
    n_trained = sum(p.requires_grad for p in model.parameters())
    assert len(checkpoint["optimizer_states"][0]["state"]) == n_trained < len(list(model.parameters()))
