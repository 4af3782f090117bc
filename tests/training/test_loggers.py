from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from autocast.errors import ConfigError
from autocast.training.samples import Samples


def draw(model, directory, epoch):
    file = directory / f"picture-{epoch}.png"
    Image.new("RGB", (12, 8), "red").save(file)
    return [file]


def test_wandb_offline_holds_config_id_each_step_once_and_pictures(train, tmp_path, capfd, read_wandb):
    logger = WandbLogger(project="autocast", mode="offline", id="abc123", name="toy", save_dir=tmp_path)
    train(loggers={"wandb": logger}, callbacks={"samples": Samples(draw, every_n_epochs=2)})

    assert "wandb" not in "".join(capfd.readouterr())
    wandb.teardown()  # waits for the service, which writes the file
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    run_id, config, history = read_wandb(file)
    assert run_id == "abc123"
    assert config["seed"] == 42
    steps = [record["trainer/global_step"] for record in history if "trainer/global_step" in record]
    assert steps == [2, 4, 6, 8, 10, 12]
    assert len(history) == len(steps)
    validated = [record["trainer/global_step"] for record in history if "val/objective" in record]
    assert validated == [4, 8, 12]
    pictured = [record["trainer/global_step"] for record in history if "val/samples" in str(record.keys())]
    assert pictured == [8]


def test_tensorboard_gets_curves_and_pictures(train, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path / "logs", name="tensorboard", version="", default_hp_metric=False)
    train(loggers={"tensorboard": logger}, callbacks={"samples": Samples(draw, every_n_epochs=3)})
    events = event_accumulator.EventAccumulator(str(tmp_path / "logs" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("val/objective")] == [4, 8, 12]
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Images("val/samples/0")] == [12]


def test_samples_are_drawn_with_the_averaged_weights(train, toy, tmp_path):
    seen = {}

    def keep(model, directory: Path, epoch: int):
        seen[epoch] = model.map.weight.clone()
        assert not model.training
        return []

    train(max_epochs=2, callbacks={"samples": Samples(keep, every_n_epochs=2), "ema": toy.WarmupEMA(decay=0.9)})
    checkpoint = toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")
    assert list(seen) == [2]
    assert (seen[2] == checkpoint["state_dict"]["model.map.weight"]).all()


def test_samples_are_drawn_in_the_first_epochs_and_every_so_many(train, tmp_path):
    train(max_epochs=6, callbacks={"samples": Samples(draw, every_n_epochs=3, first_epochs=2)})
    names = {file.name for file in (tmp_path / "epd" / "samples").iterdir()}
    assert names == {f"picture-{epoch}.png" for epoch in (1, 2, 3, 6)}


def test_a_picture_that_cannot_be_drawn_is_a_note_and_ends_no_training(train):
    told = []

    def fail(model, directory, epoch):
        raise RuntimeError("no colours")

    assert train(max_epochs=2, callbacks={"samples": Samples(fail, every_n_epochs=2, note=told.append)}).epochs == 2
    assert told == ["no pictures of epoch 2: RuntimeError: no colours"]


def test_pictures_every_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"samples.every_n_epochs=0: at least 1"):
        Samples(draw, every_n_epochs=0)
