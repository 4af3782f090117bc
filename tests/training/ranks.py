"""What `test_ranks.py` lets torchrun start in two processes, and does in its own one to compare."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from autocast.assembly import assemble_autoencoder, assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.gaussian import GaussianBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.datamodule import FieldDataModule
from autocast.generative.samplers import Euler
from autocast.losses.adversarial import Adversarial
from autocast.losses.annealing import Delayed, Linear
from autocast.losses.objective import Objective
from autocast.losses.terms import KL, SquaredError
from autocast.nn.patchgan import PatchDiscriminator
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.signals import StoppedError, StopRequest
from autocast.training.averaging import WarmupEMA
from autocast.training.checkpoints import CheckpointSettings, newest_valid
from autocast.training.divergence import DivergenceError
from autocast.training.fit import Destination, FitSummary, Recipe, fit
from autocast.training.optimizers import warmup_cosine
from autocast.training.samples import Samples
from autocast.training.sharding import ShardedStrategy

UNET = functools.partial(UNet, width=8, levels=1, blocks=1)
DC = functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=6)
MODELS: dict[str, tuple[Any, Any, bool]] = {
    "direct": (functools.partial(Direct, backbone=UNET), DC, False),
    "ensemble": (functools.partial(Ensemble, backbone=UNET), IdentityEncoder, False),
    "flow_matching": (functools.partial(FlowMatching, backbone=UNET, sampler=Euler(n_steps=2)), DC, True),
}
"""Processor, encoder, and whether the autoencoder is frozen."""
RANK = int(os.environ.get("RANK", "0"))


class SignalAfter(Callback):
    """Sends one rank a signal during an optimiser step."""

    def __init__(self, step: int, rank: int, number: signal.Signals):
        self.step, self.rank, self.number = step, rank, number

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: Any) -> None:
        if (trainer.global_step + 1, trainer.global_rank) == (self.step, self.rank):
            os.kill(os.getpid(), self.number)


class SpoilAfter(Callback):
    """Makes one rank's loss infinite in a step."""

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        if (trainer.global_step, trainer.global_rank) == (5, 1):
            outputs["terms"] = {name: value * float("inf") for name, value in outputs["terms"].items()}


def train(
    name: str, data: Path, run_dir: Path, *, n_ranks: int, callbacks: dict[str, Any] | None = None, **options: Any
) -> FitSummary:
    """Three epochs of six steps."""
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    n_workers = options.pop("n_workers", 0)
    on_disk = {"n_workers": n_workers, "memory_limit": 0.0} if n_workers else {}
    datamodule = FieldDataModule(data, n_steps_input=3, n_steps_output=2, batch_size=4, **on_disk)
    model = assemble(name, datamodule)
    averages = {"ema": WarmupEMA()} if options.pop("averages", True) else {}
    trainer = functools.partial(
        L.Trainer,
        max_epochs=options.pop("max_epochs", 3),
        accelerator="cpu",
        devices=n_ranks,
        log_every_n_steps=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=options.pop("accumulate", 1),
        **options.pop("trainer_options", {}),
    )
    recipe = Recipe(
        trainer,
        functools.partial(options.pop("optimizer", torch.optim.AdamW), lr=0.01),
        functools.partial(warmup_cosine, warmup_steps=3),
        callbacks={**averages, **(callbacks or {})},
        loggers=options.pop("loggers", {}),
        checkpoint=options.pop("checkpoint", CheckpointSettings()),
        micro_batch=options.pop("micro_batch", None),
    )
    destination = Destination("epd", run_dir / "epd", run_dir / "epd.ckpt", {"seed": 42}, datamodule.spec.to_dict())
    events: list[Any] = []
    options["on_event"] = lambda *event: events.append(event)
    try:
        return fit(model, datamodule, recipe, destination, **options)
    finally:
        (run_dir / f"events-{RANK}.json").write_text(json.dumps(events))


def assemble(name: str, datamodule: FieldDataModule) -> Any:
    parts: dict[str, Any] = {"spec": datamodule.spec, "normaliser": datamodule.normaliser}
    if name == "ae":
        return assemble_autoencoder(DC, functools.partial(IdentityBottleneck, noise=0.1), **parts)
    if name == "gan":
        return assemble_autoencoder(DC, GaussianBottleneck, objective=adversarial_objective(), **parts)
    processor, encoder, frozen = MODELS[name]
    steps = {"n_steps_input": 3, "n_steps_output": 2}
    model = assemble_emulator(encoder, IdentityBottleneck, processor, **parts, **steps, frozen=frozen)
    model.fit_latents(iter(datamodule.train_dataloader()))
    return model


def adversarial_objective() -> Objective:
    """The discriminator begins with the fourth step."""
    patch = functools.partial(PatchDiscriminator, n_layers=1, base_channels=4, norm="group")
    terms = {"mse": SquaredError(), "kl": KL(), "adversarial": Adversarial(patch, r1=0.1, learning_rate=1e-3)}
    return Objective(terms, {"mse": 1.0, "kl": Linear(1e-3, 6), "adversarial": Delayed(0.5, 3)})


class Slowly(Callback):
    """Tells how many batches are trained, and leaves time to be killed after each."""

    def __init__(self, told: Path):
        self.told, self.n = told, 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.n += 1
        if RANK == 0:
            self.told.write_text(str(self.n))
        time.sleep(0.05)


def go_on(name: str, data: Path, run_dir: Path, told: Path, *, n_ranks: int, **options: Any) -> None:
    """From the last checkpoint if there is one, slowly, with a checkpoint at every step."""
    directory = run_dir / "epd/checkpoints"
    if (directory / "last.ckpt").exists():
        options["resume_from"] = newest_valid(directory)
    run_dir.mkdir(exist_ok=True)
    every_step = CheckpointSettings(every_n_epochs=1, every_n_minutes=0.0)
    tracker = TensorBoardLogger(run_dir, name="tensorboard", version="", default_hp_metric=False)
    options["loggers"] = {"tensorboard": tracker}
    train(name, data, run_dir, n_ranks=n_ranks, callbacks={"slowly": Slowly(told)}, checkpoint=every_step, **options)


def draw(model: Any, directory: Path, epoch: int) -> list[Path]:
    (directory / f"drawn-by-{RANK}").touch()
    return []


def draw_autoencoder(model: Any, directory: Path, epoch: int) -> list[Path]:
    """By all the ways in which a picture of an autoencoder enters it."""
    x = torch.ones(1, 1, 8, 12, 2)
    z = model.to_latents(x)
    torch.save({"reconstructed": model.reconstruct(x), "decoded": model.from_latents(z)}, directory / "coded.pt")
    return []


def stop_and_resume(data: Path, run_dir: Path, step: int, number: signal.Signals, **options: Any) -> None:
    """Only the second rank gets the signal."""
    stop = StopRequest()
    said = ""
    with stop.catching(signal.SIGUSR2, signal.SIGTERM):
        try:
            train(
                "ensemble",
                data,
                run_dir,
                n_ranks=2,
                callbacks={"stop": SignalAfter(step, 1, number)},
                stop=stop,
                **options,
            )
        except StoppedError as error:
            said = f"{error.reason} {error.epoch} {error.step}"
    (run_dir / f"stopped-{RANK}").write_text(said)
    last = run_dir / "epd/checkpoints/last.ckpt"
    if RANK == 0:
        (run_dir / "stopped.ckpt").write_bytes(last.read_bytes())
    train("ensemble", data, run_dir, n_ranks=2, resume_from=last, **options)


def diverge(data: Path, run_dir: Path) -> None:
    try:
        train("direct", data, run_dir, n_ranks=2, callbacks={"spoil": SpoilAfter()})
    except DivergenceError as error:
        (run_dir / f"diverged-{RANK}").write_text(str(error))


def main(data: Path, runs: Path) -> None:
    for name in (*MODELS, "gan"):
        samples = {"samples": Samples(draw, every_n_epochs=2)}
        loggers = {"wandb": WandbLogger(mode="offline", save_dir=runs / name)} if name == "direct" else {}
        train(name, data, runs / name, n_ranks=2, callbacks=samples, loggers=loggers)
    stop_and_resume(data, runs / "stopped", 9, signal.SIGUSR2)
    train("ensemble", data, runs / "accumulated", n_ranks=2, accumulate=2)
    stop_and_resume(data, runs / "accumulated-stopped", 5, signal.SIGTERM, accumulate=2)
    diverge(data, runs / "diverged")


def in_pieces(data: Path, runs: Path) -> None:
    """Of the two windows that each rank has of a batch, one at a time."""
    for name, how in (("gan", {}), ("ensemble", {"accumulate": 2}), ("flow_matching", {"strategy": ShardedStrategy()})):
        (runs / name).mkdir(exist_ok=True)
        options = {"trainer_options": {"strategy": how.pop("strategy", "auto")}, "averages": False, **how}
        train(name, data, runs / name, n_ranks=2, max_epochs=2, micro_batch=1, **options)


if __name__ == "__main__":
    if sys.argv[1] == "go-on":
        go_on(sys.argv[2], *map(Path, sys.argv[3:]), n_ranks=2)
    elif sys.argv[1] == "go-on-in-parts":
        strategy = ShardedStrategy(save_distributed_checkpoint=True)
        go_on(sys.argv[2], *map(Path, sys.argv[3:]), n_ranks=2, trainer_options={"strategy": strategy})
    elif sys.argv[1] == "in-pieces":
        in_pieces(*map(Path, sys.argv[2:]))
    else:
        main(*map(Path, sys.argv[1:]))
