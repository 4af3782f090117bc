from pathlib import Path

import lightning as L
import pytest
import yaml
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from autocast.runs.own_keys import without_own
from autocast.training.checkpoints import CheckpointSettings


def leaves(root: Path, name: str) -> dict:
    content = yaml.safe_load((root / "configs" / f"{name}.yaml").read_text())
    content.pop("defaults", None)
    return content


def test_the_trainer_lacks_only_what_fit_adds(root):
    config = without_own(leaves(root, "trainer/default"))
    trainer = instantiate(config, _convert_="all")(
        logger=[], callbacks=[], enable_progress_bar=False, accelerator="cpu"
    )
    assert isinstance(trainer, L.Trainer)
    assert trainer.max_epochs == 50


@pytest.mark.parametrize("name", ["default", "early_stopping", "none"])
def test_callbacks_are_built_by_name(root, name):
    for leaf in leaves(root, f"callbacks/{name}").values():
        assert isinstance(instantiate(leaf, _convert_="all"), Callback)


@pytest.mark.parametrize("name", ["default", "tensorboard", "wandb"])
def test_loggers_are_built_by_name_and_completed(root, tmp_path, monkeypatch, name):
    monkeypatch.delenv("WANDB_MODE")
    for leaf in leaves(root, f"logging/{name}").values():
        logger = instantiate(leaf, save_dir=str(tmp_path), _convert_="all")
        assert isinstance(logger, Logger)
        if name == "wandb":
            assert logger._wandb_init["mode"] == "offline"


def test_checkpoint_settings_have_the_configs_keys(root):
    assert CheckpointSettings(**leaves(root, "checkpoint/default")) == CheckpointSettings()
