# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""Live progress of a training: one bar on a terminal, one plain line per epoch in a pipe."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autocast.training.best import MONITOR, BestObjective
from autocast.training.metrics_log import MetricsLog
from autocast.training.sharding import is_sharded
from autocast.training.utilisation import Utilisation, count_flops

REFRESH_SECONDS = 0.1
LOSS_REFRESH_SECONDS = 1.0
"""Reading a loss waits for the device."""
NARROWEST_BAR, WIDE = 60, 110
"""Columns: below the first there are plain lines; from the second on the speed stands beside the bar."""
SHORTEST_BAR, LONGEST_BAR, ROOM_FOR_SPEED = 12, 40, 92


def _is_terminal(console: Console) -> bool:
    plain = bool(os.environ.get("NO_COLOR")) or console.is_dumb_terminal or console.width < NARROWEST_BAR
    return console.is_terminal and not plain


@dataclass
class Display:
    """Where progress is shown, and whether as a bar that moves or as plain lines."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    live: bool | None = None

    def __post_init__(self) -> None:
        if self.live is None:
            self.live = _is_terminal(self.console)

    def line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Throughput:
    """Time of steps and time of waiting for data, since the epoch's start."""

    def __init__(self) -> None:
        self.n_steps = 0
        self.n_samples = 0
        self.seconds = 0.0
        self.waited = 0.0
        self._mark = time.monotonic()

    def start(self) -> None:
        self._mark = time.monotonic()

    def batch_arrived(self) -> None:
        self.waited += self._lap()

    def batch_done(self, n_samples: int, *, stepped: bool) -> None:
        self.seconds += self._lap()
        self.n_samples += n_samples
        self.n_steps += stepped

    def _lap(self) -> float:
        now = time.monotonic()
        elapsed, self._mark = now - self._mark, now
        return elapsed

    @property
    def samples_per_second(self) -> float:
        total = self.seconds + self.waited
        return self.n_samples / total if total else 0.0

    @property
    def wait(self) -> float:
        """The share of the time that went into waiting for data."""
        total = self.seconds + self.waited
        return self.waited / total if total else 0.0

    def summary(self) -> str:
        """`0.113 s/step · 283 samples/s · data wait 1 %`"""
        total = self.seconds + self.waited
        if self.n_steps == 0 or total == 0:
            return ""
        speed = f"{total / self.n_steps:.3g} s/step · {self.samples_per_second:.0f} samples/s"
        return f"{speed} · data wait {100 * self.wait:.0f} %"


class Progress(Callback):
    """Shows how far a run is, how fast, and how good.

    Args:
        display: Where to.
        best: Knows the best epoch.
        log: Knows the latest losses.
    """

    def __init__(self, display: Display, best: BestObjective, log: MetricsLog):
        self.display = display
        self.best = best
        self.log_of_metrics = log
        self._live: Live | None = None
        self.throughput = Throughput()
        self._started = self._refreshed = self._loss_read = 0.0
        self._first_step = self._seen_step = 0
        self._losses: list[float] = []
        self._utilisation: Utilisation | None = None
        self._counted: tuple[int, ...] = ()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._started = time.monotonic()
        self._first_step = self._seen_step = trainer.global_step
        if self.display.live and trainer.is_global_zero:
            self._live = Live(console=self.display.console, auto_refresh=False)
            self._live.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.throughput = Throughput()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 and trainer.strategy.root_device.type == "cuda" and not is_sharded(trainer):
            self._count(trainer, pl_module, batch)
        self.throughput.batch_arrived()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = trainer.global_step > self._seen_step
        self._seen_step = trainer.global_step
        self.throughput.batch_done(batch.size * trainer.world_size, stepped=stepped)
        self._refresh(trainer)

    def _count(self, trainer: L.Trainer, module: Any, batch: Any) -> None:
        """Operations, anew where a curriculum has made the batches longer."""
        batch = module.cut(batch, trainer.global_step)
        shape = tuple(batch.output_fields.shape[1:])
        if shape != self._counted:
            self._counted = shape
            self._utilisation = Utilisation(trainer, count_flops(module.model, batch))
            self.throughput.start()

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._refresh(trainer, note="validating")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.throughput.start()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if self._live is None:
            self.display.line(self._plain_line(trainer))
        else:
            self._refresh(trainer, epoch=trainer.current_epoch + 1, force=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _refresh(self, trainer: L.Trainer, *, epoch: int | None = None, note: str = "", force: bool = False) -> None:
        now = time.monotonic()
        if self._live is None or (now - self._refreshed < REFRESH_SECONDS and not force):
            return
        self._refreshed = now
        if (force or now - self._loss_read > LOSS_REFRESH_SECONDS) and self.log_of_metrics.terms:
            self._loss_read = now
            self._losses = [*self._losses[-1:], float(self.log_of_metrics.terms["train/loss"])]
        self._live.update(self._bar(trainer, epoch or trainer.current_epoch + 1, note), refresh=True)

    def _bar(self, trainer: L.Trainer, epoch: int, note: str) -> Group:
        total = _total_steps(trainer)
        known = math.isfinite(total)
        length = min(LONGEST_BAR, max(SHORTEST_BAR, self.display.console.width - ROOM_FOR_SPEED))
        bar = ProgressBar(total=total if known else None, completed=trainer.global_step, width=length)
        percent = f"{100 * trainer.global_step / total:.0f} %" if known else ""
        speed = self._speed(trainer)
        wide = self.display.console.width >= WIDE
        row = Table.grid(padding=(0, 1))
        row.add_row(_one_line(_epoch_text(trainer, epoch)), bar, _one_line(f"{percent}  {speed}" if wide else percent))
        losses = _one_line(f"{self._loss_text()}   {self._objective_text(trainer)}   {note}".strip())
        return Group(row, losses) if wide else Group(row, _one_line(speed), losses)

    def _plain_line(self, trainer: L.Trainer) -> str:
        record = self.log_of_metrics.record
        loss = f"train/loss {record['train/loss']:.4g}" if "train/loss" in record else ""
        best = " (best)" if self.best.is_new else ""
        objective = f"{MONITOR} {record[MONITOR]:.4g}{best}" if MONITOR in record else ""
        parts = [_epoch_text(trainer, record["epoch"]), loss, objective, self._speed(trainer)]
        return "  ".join(part for part in parts if part)

    def _speed(self, trainer: L.Trainer) -> str:
        memory = f"{peak_memory(trainer) / 1e9:.1f} GB"
        gpu = self._utilisation.summary(self.throughput.samples_per_second) if self._utilisation else ""
        parts = [self.throughput.summary(), memory, gpu, self._eta(trainer)]
        return " · ".join(part for part in parts if part)

    def _eta(self, trainer: L.Trainer) -> str:
        done, total = trainer.global_step - self._first_step, _total_steps(trainer)
        if done == 0 or not math.isfinite(total):
            return ""
        seconds = (time.monotonic() - self._started) / done * (total - trainer.global_step)
        return f"ETA {_duration(seconds)}"

    def _loss_text(self) -> str:
        if not self._losses:
            return ""
        arrow = " ↓" if self._losses[-1] < self._losses[0] else ""
        return f"train/loss {self._losses[-1]:.4g}{arrow}"

    def _objective_text(self, trainer: L.Trainer) -> str:
        if MONITOR not in trainer.callback_metrics or self.best.objective is None:
            return ""
        objective = float(trainer.callback_metrics[MONITOR])
        best = "best" if objective == self.best.objective else f"best {self.best.objective:.4g}"
        return f"{MONITOR} {objective:.4g} ({best}, epoch {self.best.epoch})"


def _total_steps(trainer: L.Trainer) -> float:
    module: Any = trainer.lightning_module
    return module.total_steps(trainer.global_step)


def peak_memory(trainer: L.Trainer) -> int:
    """Bytes at most in use so far: of the GPU where there is one, else of the process."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _epoch_text(trainer: L.Trainer, epoch: int) -> str:
    return f"epoch {epoch}" if trainer.max_epochs in (None, -1) else f"epoch {epoch}/{trainer.max_epochs}"


def _duration(seconds: float) -> str:
    """`4:31`, `1:02:03`"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
