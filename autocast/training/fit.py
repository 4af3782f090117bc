"""Trains a model into a directory, from the start or from where a checkpoint left it."""

from __future__ import annotations

import platform
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from autocast.diagnosis import Run
from autocast.nn.compilation import CUDA_GRAPHS
from autocast.signals import StoppedError, StopRequest
from autocast.training.agreement import Agreement
from autocast.training.ailments import Ailments
from autocast.training.best import BestObjective
from autocast.training.budget import Budget
from autocast.training.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
    CheckpointSettings,
    OnEvent,
)
from autocast.training.compilation import compile_for, tf32
from autocast.training.continued import CHECKPOINTS_DIR
from autocast.training.curriculum import Curriculum
from autocast.training.divergence import DivergenceGuard
from autocast.training.media import finish_trackers, start_trackers
from autocast.training.metrics_log import MetricsFile, MetricsLog
from autocast.training.micro_batches import MicroBatches
from autocast.training.module import Augmentation, MakeOptimizer, MakeScheduler, TrainingModule
from autocast.training.position import DataPosition
from autocast.training.progress import Display, Progress, peak_memory
from autocast.training.quiet import quiet
from autocast.training.resume import ResumeNotice
from autocast.training.sharding import ShardedModule, is_sharded, leave_out_averages
from autocast.version import __version__


@dataclass(frozen=True)
class Recipe:
    """How to train, as built components."""

    trainer: Callable[..., L.Trainer]
    """Lacks callbacks, loggers, directories and everything about display."""
    optimizer: MakeOptimizer
    lr_scheduler: MakeScheduler | None = None
    callbacks: Mapping[str, Callback] = field(default_factory=dict)
    """By name: averaged weights, early stopping, one's own."""
    loggers: Mapping[str, Logger] = field(default_factory=dict)
    """By name: trackers beside `metrics.jsonl` and `metrics.csv`, which are always written."""
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    augment: Augmentation | None = None
    budget: float | None = None
    """Seconds of the whole run, over restarts; None is no limit."""
    max_spike: float | None = None
    """How many times its usual size the objective may be; None does not look."""
    skip_steps: Sequence[int] = ()
    """Optimiser steps whose batches are not trained on."""
    curriculum: Curriculum | None = None
    """How many windows of the batches are trained on; None is all."""
    compile: str | None = None
    """The mode that `torch.compile` compiles the networks in; None leaves them eager."""
    micro_batch: int | None = None
    """Windows that a device computes at once; None is all of a batch. Fewer once memory runs out."""
    tf32: bool = False
    """Whether GPUs multiply single-precision numbers in TF32."""
    seed: int = 42


@dataclass(frozen=True)
class Destination:
    """Where a run of one kind writes, and what its checkpoints say of it."""

    kind: str
    directory: Path
    """Gets `checkpoints/`, `metrics.jsonl`, `metrics.csv` and `samples/`."""
    main_file: Path
    """`<kind>.ckpt`: the best checkpoint, what others load."""
    config: dict[str, Any]
    """Plain values."""
    spec: dict[str, Any]
    diagnosed: Run | None = None
    """What notes about ailments of the model name; None looks for none."""

    @property
    def checkpoints_dir(self) -> Path:
        return self.directory / CHECKPOINTS_DIR

    def record(self) -> dict[str, Any]:
        versions = {
            "autocast": __version__,
            "torch": str(torch.__version__),
            "lightning": L.__version__,
            "python": platform.python_version(),
        }
        return {"kind": self.kind, "config": self.config, "spec": self.spec, "versions": versions}


@dataclass(frozen=True)
class FitSummary:
    """How a training ended; epochs, steps and seconds include earlier attempts."""

    best_epoch: int | None
    best_objective: float | None
    epochs: int
    steps: int
    seconds: float
    checkpoint_file: Path
    peak_memory: int
    stopped_early: bool
    micro_batch: int | None
    """Windows that were computed at once in the end; None is all of a batch."""


def fit(
    model: nn.Module,
    datamodule: L.LightningDataModule,
    recipe: Recipe,
    destination: Destination,
    *,
    resume_from: Path | None = None,
    display: Display | None = None,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
    verbose: bool = False,
) -> FitSummary:
    """Trains `model`; what to use afterwards is in `destination.main_file`, not in `model`.

    Args:
        model: A `Trainable`.
        datamodule: Yields `Batch`es.
        recipe: How.
        destination: Where to.
        resume_from: A whole checkpoint, as `newest_valid` finds it. Continues everything: weights, averages,
            optimiser, schedule, counters, the best objective, and the metrics of the epochs before it, which come
            along from a run in another directory. A larger `max_epochs` extends a run; its learning-rate schedule is
            stretched to the new length.
        display: Where progress is shown; by default on standard output.
        on_event: Gets "resumed", "note", "epoch", "checkpoint", each with plain values.
        stop: Stops all ranks after the running step once any rank's is asked. Ctrl-C asks it in here; other signals are
            the caller's to catch. A request that comes when the training is complete stops nothing: whoever has more
            to do looks at it afterwards.
        verbose: Let Lightning speak as well.

    Raises:
        ConfigError: The networks cannot be compiled here, or not in this way.
        DivergenceError: The loss is no longer a number.
        KeyboardInterrupt: After Ctrl-C, with the last step saved.
        StoppedError: For another reason, with the last step saved.
    """
    display = display or Display()
    on_event = on_event or _unheard
    stop = stop or StopRequest()
    best = BestObjective()
    log = MetricsLog(MetricsFile(destination.directory), best, on_event)
    agreement = Agreement()
    budget = Budget(recipe.budget, agreement) if recipe.budget is not None else None
    own = _own_callbacks(recipe, destination, display, on_event, stop, best, log, agreement)
    if destination.diagnosed is not None:
        own.insert(own.index(log) + 1, Ailments(destination.diagnosed, log, display, on_event))
    with nullcontext() if verbose else quiet():
        trainer = _build_trainer(recipe, destination, [agreement, *([budget] if budget else [])], own)
        micro_batches = MicroBatches(
            recipe.micro_batch,
            obstacle=_obstacle(trainer, recipe),
            say=lambda text: _note(trainer, display, on_event, text),  # averaging copies it: a display cannot be
        )
        module = _make_module(trainer, model, recipe, budget, micro_batches, destination)
        if recipe.compile is not None:
            compile_for(trainer, model, recipe.compile, recipe.micro_batch)
        if is_sharded(trainer):
            _train_without_averages(trainer, recipe, display, on_event)
        with _tracked(trainer.loggers, destination.config), tf32(recipe.tf32):
            _run(trainer, module, datamodule, stop, resume_from)
    return _summarise(trainer, best, log, micro_batches, destination)


def _make_module(
    trainer: L.Trainer,
    model: nn.Module,
    recipe: Recipe,
    budget: Budget | None,
    micro_batches: MicroBatches,
    destination: Destination,
) -> TrainingModule:
    return (ShardedModule if is_sharded(trainer) else TrainingModule)(
        model,
        optimizer=recipe.optimizer,
        lr_scheduler=recipe.lr_scheduler,
        budget=budget,
        skip_steps=recipe.skip_steps,
        micro_batches=micro_batches,
        seed=recipe.seed,
        augment=recipe.augment,
        curriculum=recipe.curriculum,
        record=destination.record(),
    )


def _own_callbacks(
    recipe: Recipe,
    destination: Destination,
    display: Display,
    on_event: OnEvent,
    stop: StopRequest,
    best: BestObjective,
    log: MetricsLog,
    agreement: Agreement,
) -> list[Callback]:
    """In the order in which they look at a step: what is saved comes last."""
    checkpoints = Checkpoints(
        destination.checkpoints_dir,
        destination.main_file,
        settings=recipe.checkpoint,
        best=best,
        stop=stop,
        agreement=agreement,
        on_event=on_event,
    )
    return [
        ResumeNotice(display, on_event),
        DivergenceGuard(agreement, recipe.max_spike),
        DataPosition(),
        best,
        log,
        Progress(display, best, log),
        checkpoints,
    ]


def _build_trainer(recipe: Recipe, destination: Destination, first: list[Callback], own: list[Callback]) -> L.Trainer:
    """The ranks agree first, on their clocks too; averaging goes before the others: what they see and save is then the
    average after the step."""
    given = sorted(recipe.callbacks.values(), key=lambda callback: not isinstance(callback, WeightAveraging))
    destination.directory.mkdir(parents=True, exist_ok=True)
    return recipe.trainer(
        callbacks=[*first, *given, *own],
        logger=list(recipe.loggers.values()),
        default_root_dir=destination.directory,
        plugins=[AtomicCheckpointIO(), *_environment()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _train_without_averages(trainer: L.Trainer, recipe: Recipe, display: Display, on_event: OnEvent) -> None:
    text = leave_out_averages(trainer, recipe.callbacks)
    if text:
        _note(trainer, display, on_event, text)


def _note(trainer: L.Trainer, display: Display, on_event: OnEvent, text: str) -> None:
    if trainer.is_global_zero:
        display.line(f"note: {text}")
        on_event("note", {"text": text})


def _obstacle(trainer: L.Trainer, recipe: Recipe) -> str:
    """Why a batch cannot be computed in smaller pieces once the training runs; nothing where it can."""
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return "one of several processes cannot take smaller ones by itself"
    if recipe.compile in CUDA_GRAPHS:
        return f"the CUDA graphs of trainer.compile={recipe.compile} allow no others (trainer.compile=default does)"
    return ""


def _environment() -> list[ClusterEnvironment]:
    """Where Lightning would take SLURM for its own: a job that is stopped is requeued by us alone.

    torchrun comes first, as in Lightning: it may start its processes within a SLURM job.
    """
    in_slurm = not TorchElasticEnvironment.detect() and SLURMEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if in_slurm else []


def _unheard(event: str, fields: dict[str, Any]) -> None:
    """Nobody listens."""


@contextmanager
def _tracked(loggers: Sequence[Logger], config: dict[str, Any]) -> Iterator[None]:
    start_trackers(loggers, config)
    failed = True
    try:
        yield
        failed = False
    finally:
        finish_trackers(loggers, failed=failed)


def _run(
    trainer: L.Trainer,
    module: TrainingModule,
    datamodule: L.LightningDataModule,
    stop: StopRequest,
    resume_from: Path | None,
) -> None:
    try:
        with stop.catching(signal.SIGINT):
            trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    except StoppedError as error:
        if error.reason == signal.SIGINT.name:
            raise KeyboardInterrupt from None
        raise
    except SystemExit:  # Lightning's answer to a second Ctrl-C, and to a SIGTERM before the first step
        if stop.reason is None:
            raise
        if stop.reason == signal.SIGINT.name:
            raise KeyboardInterrupt from None
        raise StoppedError(stop.reason, trainer.current_epoch, trainer.global_step) from None


def _summarise(
    trainer: L.Trainer, best: BestObjective, log: MetricsLog, micro_batches: MicroBatches, destination: Destination
) -> FitSummary:
    stoppers = [c for c in trainer.callbacks if isinstance(c, EarlyStopping)]  # type: ignore[attr-defined]
    return FitSummary(
        best_epoch=best.epoch,
        best_objective=best.objective,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        seconds=sum(record["seconds"] for record in log.file.read()),
        checkpoint_file=destination.main_file,
        peak_memory=peak_memory(trainer),
        stopped_early=any(stopper.stopped_epoch > 0 for stopper in stoppers),
        micro_batch=micro_batches.size,
    )
