from __future__ import annotations

import functools
import inspect
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
import yaml

from autocast.data.augmentations import RandomSymmetry
from autocast.data.datamodule import PLACEMENTS, FieldDataModule
from autocast.errors import ConfigError, DataError

CONFIGS = Path(__file__).parents[2] / "configs" / "datamodule"


def assert_same_batches(first, second) -> int:
    n = 0
    for a, b in zip(first, second, strict=True):
        for name, value in vars(a).items():
            assert torch.equal(value, getattr(b, name)), name
        n += 1
    return n


def test_it_knows_its_data_before_anything_is_read(make_dataset, spec, monkeypatch):
    path = make_dataset()
    monkeypatch.setattr("autocast.data.well.WellTrajectories.read", None)
    datamodule = FieldDataModule(path, n_steps_input=2, n_steps_output=3)
    assert datamodule.spec == spec()
    assert (datamodule.n_steps_input, datamodule.n_steps_output) == (2, 3)
    assert datamodule.digest == datamodule.header.digest
    assert datamodule.in_memory()


def test_normalised_training_data_have_mean_zero_and_deviation_one(make_dataset):
    datamodule = FieldDataModule(make_dataset())
    train = datamodule.split("train")
    x = torch.cat([torch.from_numpy(train.read(i, 0, train.n_steps(i))) for i in range(5)])
    z = datamodule.normaliser.normalise(x).flatten(0, -2)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(dim=0), torch.ones(2), atol=1e-3, rtol=0)
    scalars = datamodule.scalar_normaliser.normalise(torch.from_numpy(np.stack([train.scalars(i) for i in range(5)])))
    torch.testing.assert_close(scalars.std(dim=0, correction=0), torch.ones(2))
    assert datamodule.constant_normaliser.mean.shape == (1,)


def test_minmax_gives_training_data_and_constants_the_range_from_minus_one_to_one(make_dataset):
    datamodule = FieldDataModule(make_dataset(), normalisation="minmax")
    train = datamodule.split("train")
    x = torch.cat([torch.from_numpy(train.read(i, 0, train.n_steps(i))) for i in range(5)])
    depth = torch.stack([torch.from_numpy(train.constant_fields(i)) for i in range(5)])
    for values, normaliser in ((x, datamodule.normaliser), (depth, datamodule.constant_normaliser)):
        z = normaliser.normalise(values).flatten(0, -2)
        torch.testing.assert_close(z.amin(dim=0), -torch.ones(values.shape[-1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(z.amax(dim=0), torch.ones(values.shape[-1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("placement", ["ram", "disk"])
def test_an_autoencoder_needs_no_output(make_dataset, placement):
    datamodule = FieldDataModule(make_dataset(), n_steps_output=0, batch_size=4, placement=placement)
    assert len(datamodule.windows("train")) == 3 * 9 + 2 * 7
    batch = next(iter(datamodule.train_dataloader()))
    assert (batch.input_fields.shape, batch.output_fields.shape) == ((4, 1, 8, 12, 2), (4, 0, 8, 12, 2))
    with pytest.raises(ConfigError, match=r"datamodule\.n_steps_output=-1"):
        FieldDataModule(datamodule.header.path, n_steps_output=-1)


def test_without_scalars_and_constants_there_is_nothing_to_normalise(make_dataset, spec):
    datamodule = FieldDataModule(make_dataset(spec=spec(scalar_names=(), constant_field_names=())))
    assert datamodule.scalar_normaliser is None
    assert datamodule.constant_normaliser is None


@pytest.mark.parametrize("in_memory", [True, False])
def test_epochs_differ_and_repeat(make_dataset, in_memory):
    path = make_dataset()
    options = {"batch_size": 5, "memory_limit": 2.0 if in_memory else 0.0, "seed": 7}
    loader = FieldDataModule(path, **options).train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append([batch.start for batch in loader])
    assert not all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))
    again = FieldDataModule(path, **options).train_dataloader()
    again.sampler.set_epoch(1)
    assert all(torch.equal(a, b.start) for a, b in zip(epochs[1], again, strict=True))


def test_workers_memory_and_disk_give_the_same_batches(make_dataset):
    path = make_dataset()
    options = {"n_steps_input": 2, "batch_size": 4, "seed": 3}
    in_memory = FieldDataModule(path, **options)
    on_disk = FieldDataModule(path, **options, memory_limit=0)
    by_workers = FieldDataModule(path, **options, memory_limit=0, n_workers=2)
    for name in ("train_dataloader", "val_dataloader"):
        batches = list(getattr(in_memory, name)())
        assert assert_same_batches(batches, getattr(on_disk, name)()) == len(batches) > 1
        assert_same_batches(batches, getattr(by_workers, name)())
    assert in_memory.train_dataloader().num_workers == 0
    assert by_workers.train_dataloader().num_workers == 2


def test_validation_and_test_see_every_window_once_in_order(make_dataset):
    datamodule = FieldDataModule(make_dataset(), batch_size=5)
    for loader in (datamodule.val_dataloader(), datamodule.test_dataloader()):
        batches = list(loader)
        assert torch.cat([batch.trajectory for batch in batches]).tolist() == [0] * 8 + [1] * 8
        assert torch.cat([batch.start for batch in batches]).tolist() == [*range(8), *range(8)]


def test_the_augmentation_gets_the_spec(make_dataset):
    datamodule = FieldDataModule(make_dataset(), augment=functools.partial(RandomSymmetry, flip=True))
    assert datamodule.augmentation.spec == datamodule.spec
    assert FieldDataModule(datamodule.header.path).augmentation is None


class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch, batch_idx):
        places = batch.trajectory * 100 + batch.start
        self.seen.append((self.current_epoch, places.tolist()))
        return self.weight * batch.input_fields.mean()

    def validation_step(self, batch, batch_idx):
        self.log("n", float(batch.size), batch_size=batch.size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_lightning_trains_with_the_order_of_each_epoch(make_dataset, tmp_path, n_workers):
    datamodule = FieldDataModule(make_dataset(), batch_size=6, memory_limit=0, n_workers=n_workers)
    model = Recorder()
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, datamodule=datamodule)
    loader = FieldDataModule(datamodule.header.path, batch_size=6).train_dataloader()
    expected = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        expected += [(epoch, (batch.trajectory * 100 + batch.start).tolist()) for batch in loader]
    assert model.seen == expected


@pytest.mark.parametrize("key", ["n_steps_input", "batch_size", "stride", "n_windows"])
def test_a_number_below_one_is_named(make_dataset, key):
    with pytest.raises(ConfigError, match=rf"datamodule\.{key}=0: must be at least 1"):
        FieldDataModule(make_dataset(), **{key: 0})


def test_test_batches_hold_one_window(make_dataset):
    datamodule = FieldDataModule(make_dataset(), n_steps_output=2, n_windows=2)
    loaders = (datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader())
    assert [next(iter(loader)).output_fields.shape[1] for loader in loaders] == [4, 4, 2]
    assert datamodule.n_steps_output == 2


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_batches_are_the_same_wherever_the_frames_are(make_dataset, placement):
    path = make_dataset()
    placed = FieldDataModule(path, batch_size=6, placement=placement)
    assert placed.place() == {"auto": "ram"}.get(placement, placement)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        expected = getattr(FieldDataModule(path, batch_size=6, placement="ram"), name)()
        assert assert_same_batches(getattr(placed, name)(), expected)


def test_auto_chooses_the_place_by_size(make_dataset, monkeypatch):
    datamodule = FieldDataModule(make_dataset(), memory_limit=0)
    assert datamodule.place() == "disk"
    datamodule.memory_limit = 2.0
    n_bytes = datamodule.split("train").n_bytes
    monkeypatch.setattr("autocast.data.datamodule._memory_of", lambda device: 10 * n_bytes)
    assert datamodule.place() == "device"
    monkeypatch.setattr("autocast.data.datamodule._memory_of", lambda device: 9 * n_bytes)
    assert datamodule.place() == "ram"


def test_fields_move_to_a_device_and_their_names_stay(make_dataset):
    windows = FieldDataModule(make_dataset()).windows("train")
    windows.move_to(torch.device("meta"))
    batch = windows[[3, 1]]
    assert (batch.input_fields.device.type, batch.output_fields.device.type) == ("meta", "meta")
    moved = batch.to("meta")
    assert (moved.scalars.device.type, moved.trajectory.device.type, moved.start.device.type) == ("meta", "cpu", "cpu")


def test_an_unknown_placement_lists_the_known_ones(make_dataset):
    with pytest.raises(ConfigError, match=r"datamodule\.placement=gpu.*auto, disk, ram, device"):
        FieldDataModule(make_dataset(), placement="gpu")


def test_an_unknown_normalisation_lists_the_known_ones(make_dataset):
    with pytest.raises(ConfigError, match=r"datamodule\.normalisation=robust.*zscore, rms, minmax, none"):
        FieldDataModule(make_dataset(), normalisation="robust")


def test_windows_longer_than_the_trajectories_are_named(make_dataset):
    with pytest.raises(DataError, match="has 7 frames"):
        FieldDataModule(make_dataset(), n_steps_input=6, n_steps_output=3).train_dataloader()


def test_the_configs_have_exactly_the_keywords_of_the_constructor():
    base = yaml.safe_load((CONFIGS / "base.yaml").read_text())
    keywords = set(inspect.signature(FieldDataModule).parameters)
    assert set(base) == {"_target_", *keywords}
    for file in CONFIGS.glob("*.yaml"):
        leaf = yaml.safe_load(file.read_text())
        assert set(leaf) <= {"defaults", "_target_", *keywords}, file
        if leaf.get("augment"):
            known = set(inspect.signature(RandomSymmetry).parameters) - {"spec"}
            assert set(leaf["augment"]) - {"_target_", "_partial_"} <= known, file
