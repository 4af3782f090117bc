import json
import struct
from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from autocast.training.samples import Samples


def draw(model, directory):
    file = directory / "picture.png"
    Image.new("RGB", (12, 8), "red").save(file)
    return [file]


def read_wandb(directory):
    """Run id, config and history of an offline run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = directory.glob("wandb/offline-run-*/*.wandb")
    config, history, run_id = {}, [], None
    for data in log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        run_id = record.run.run_id or run_id
        for change in [*record.run.config.update, *record.config.update]:
            config[change.key] = json.loads(change.value_json)
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return run_id, config, history


def log_records(content):
    """Records of LevelDB's log format: a 7-byte file header, then blocks of 32 KiB."""
    assert content[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(content):
        left_in_block = 2**15 - position % 2**15
        if left_in_block < 7:
            position += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def test_wandb_offline_holds_config_id_each_step_once_and_pictures(train, tmp_path, capfd):
    logger = WandbLogger(project="autocast", mode="offline", id="abc123", name="toy", save_dir=tmp_path)
    train(loggers={"wandb": logger}, callbacks={"samples": Samples(draw, every_n_epochs=2)})

    assert "wandb" not in "".join(capfd.readouterr())
    wandb.teardown()  # waits for the service, which writes the file
    run_id, config, history = read_wandb(tmp_path)
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

    def keep(model, directory: Path):
        seen[directory.name] = model.map.weight.clone()
        assert not model.training
        return []

    train(max_epochs=2, callbacks={"samples": Samples(keep, every_n_epochs=2), "ema": toy.WarmupEMA(decay=0.9)})
    checkpoint = toy.load(tmp_path / "epd" / "checkpoints" / "last.ckpt")
    assert list(seen) == ["epoch-0002"]
    assert (seen["epoch-0002"] == checkpoint["state_dict"]["model.map.weight"]).all()
