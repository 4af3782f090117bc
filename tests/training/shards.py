"""What `test_sharding.py` lets torchrun start in two processes."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import lightning as L
import ranks
import torch
from lightning.pytorch.callbacks import Callback
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from autocast.autoencoders.identity import IdentityEncoder
from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.nn.convnext_unet import ConvNeXtUNet
from autocast.nn.fno import FNO
from autocast.nn.unet import UNet
from autocast.nn.vit import ViT
from autocast.nn.windowed_vit import WindowedViT
from autocast.processors.ensemble import Ensemble
from autocast.signals import StoppedError, StopRequest
from autocast.training.checkpoints import CheckpointSettings
from autocast.training.samples import Samples
from autocast.training.sharding import ShardedStrategy, shard

SECOND = "epd/checkpoints/epoch-0002.ckpt"
BACKBONES = {"unet": UNet, "vit": ViT, "windowed_vit": WindowedViT, "fno": FNO, "convnext_unet": ConvNeXtUNet}


class Parts(Callback):
    """Tells how many weights this process has, and how many there are; of every parameter."""

    def __init__(self, told: Path):
        self.told = told

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        parts = {
            name: [parameter.to_local().numel() if isinstance(parameter, DTensor) else None, parameter.numel()]
            for name, parameter in pl_module.named_parameters()
        }
        self.told.write_text(json.dumps(parts))


def forecast(model: Any, directory: Path, epoch: int) -> list[Path]:
    x = torch.ones(1, 3, 8, 12, 2)
    windows = list(model.forecast(x, 4, n_members=2, trajectory=[0]))
    torch.save(torch.cat(windows, dim=2), directory / "forecast.pt")
    return []


def train(name: str, data: Path, run_dir: Path, *, parts: bool = False, **options: Any) -> None:
    run_dir.mkdir(exist_ok=True)
    own = options.pop("callbacks", {})
    ranks.train(
        name,
        data,
        run_dir,
        n_ranks=2,
        callbacks={"parts": Parts(run_dir / f"parts-{ranks.RANK}.json"), "samples": Samples(forecast, 2), **own},
        checkpoint=CheckpointSettings(every_n_epochs=1),
        trainer_options={"strategy": ShardedStrategy(save_distributed_checkpoint=parts)},
        **options,
    )


class SOAP(torch.optim.SGD):
    """It is known by its name."""


def refuse(data: Path, run_dir: Path) -> None:
    try:
        train("direct", data, run_dir, optimizer=SOAP)
    except ConfigError as error:
        (run_dir / f"refused-{ranks.RANK}").write_text(str(error))


def stop_and_resume(data: Path, run_dir: Path, step: int) -> None:
    stop = StopRequest()
    with stop.catching(signal.SIGUSR2):
        try:
            stopping = {"stop": ranks.SignalAfter(step, 1, signal.SIGUSR2)}
            train("ensemble", data, run_dir, parts=True, callbacks=stopping, stop=stop)
        except StoppedError as error:
            (run_dir / f"stopped-{ranks.RANK}").write_text(f"{error.reason} {error.epoch} {error.step}")
    last = run_dir / "epd/checkpoints/last.ckpt"
    if ranks.RANK == 0:
        shutil.copytree(last, run_dir / "stopped.ckpt")
    train("ensemble", data, run_dir, parts=True, resume_from=last)


def compare_gradients(data: Path, told: Path) -> None:
    """Of each backbone, with chunks of members and blocks that are computed again."""
    found = {name: sharded_gradient(backbone, data) for name, backbone in BACKBONES.items()}
    if ranks.RANK == 0:
        told.write_text(json.dumps(found))


def sharded_gradient(backbone: Any, data: Path) -> tuple[int, float, float]:
    """Parts that a model is sent in, its largest gradient, and the largest difference from a whole model's."""
    datamodule = ranks.FieldDataModule(data, n_steps_input=3, n_steps_output=2, batch_size=4)
    backbone = functools.partial(backbone, size="xs", gradient_checkpointing=True)
    processor = functools.partial(Ensemble, backbone=backbone, n_members_train=2, members_per_call=1)
    ranks.MODELS["shards"] = (processor, IdentityEncoder, False)
    batch = next(iter(datamodule.train_dataloader()))
    gradients = []
    for is_sharded in (False, True):
        torch.manual_seed(ranks.RANK)  # the first process's weights count
        model = ranks.assemble("shards", datamodule)
        if is_sharded:
            shard(model, torch.distributed.init_device_mesh("cpu", (2,)))
        model.loss(batch, Noise([(0, row) for row in range(batch.size)]))["loss"].backward()
        whole = [p.grad.full_tensor() if is_sharded else p.grad for p in model.parameters()]
        gradients.append(torch.cat([gradient.flatten() for gradient in whole]))
    n_parts = sum(isinstance(module, FSDPModule) for module in model.modules())
    return n_parts, float(gradients[0].abs().max()), float((gradients[1] - gradients[0]).abs().max())


def main(data: Path, alone: Path, runs: Path) -> None:
    for name in ("direct", "ensemble", "flow_matching"):
        train(name, data, runs / name)
    train("ae", data, runs / "ae", callbacks={"samples": Samples(ranks.draw_autoencoder, 2)})
    train("direct", data, runs / "resumed", resume_from=runs / "direct" / SECOND)
    train("direct", data, runs / "joined", resume_from=alone / SECOND)
    stop_and_resume(data, runs / "stopped", 9)
    refuse(data, runs / "refused")
    compare_gradients(data, runs / "gradients.json")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
