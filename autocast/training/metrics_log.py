# ruff: noqa: ARG002 - the signatures of hooks are Lightning's
"""One line per epoch in `metrics.jsonl` and `metrics.csv`; single steps go to the loggers, every few of them."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from autocast.training.best import BestObjective
from autocast.training.continued import METRICS_FILE, epochs_done, run_of_checkpoint
from autocast.training.media import flush, forget_after, log_record

Record = dict[str, Any]


class MetricsFile:
    """`metrics.jsonl`, and the same as `metrics.csv`; one record per epoch, epochs counted from 1."""

    def __init__(self, directory: Path):
        self.jsonl_file = directory / METRICS_FILE
        self.csv_file = directory / "metrics.csv"
        self._columns: list[str] = []

    def read(self) -> list[Record]:
        """All complete records; a last line that a kill cut short is left out."""
        if not self.jsonl_file.is_file():
            return []
        lines = self.jsonl_file.read_text(encoding="utf-8").split("\n")[:-1]  # a whole line ends in a newline
        return [json.loads(line) for line in lines]

    def start_after(self, epoch: int, source: MetricsFile | None = None) -> None:
        """Keeps the records up to `epoch`, of another run if this one continues it; later ones are to be made again."""
        records = [record for record in (source or self).read() if record["epoch"] <= epoch]
        self.jsonl_file.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.jsonl_file, "".join(_json_line(record) for record in records))
        self._rewrite_csv(records)

    def append(self, record: Record) -> None:
        _append(self.jsonl_file, _json_line(record))
        if set(record) <= set(self._columns):
            _append(self.csv_file, self._csv_text([record]))
        else:
            self._rewrite_csv(self.read())

    def _rewrite_csv(self, records: Sequence[Record]) -> None:
        self._columns = list(dict.fromkeys(name for record in records for name in record))
        header = ",".join(self._columns) + "\n" if records else ""
        _replace(self.csv_file, header + self._csv_text(records))

    def _csv_text(self, records: Sequence[Record]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(records)
        return text.getvalue()


class MetricsLog(Callback):
    """Averages the training terms over each epoch and writes them with the validation's means.

    A logger gets the same names, but `train/` of single steps, every `trainer.log_every_n_steps`; of an epoch's last
    step in one record with the epoch's validation. The averages of an unfinished epoch are part of the checkpoint.

    Args:
        file: Of the records.
        best: Knows whether the epoch is the best so far.
        on_event: Gets "epoch" with each record.
    """

    def __init__(self, file: MetricsFile, best: BestObjective, on_event: Any):
        self.file = file
        self.best = best
        self.on_event = on_event
        self.record: Record = {}
        """The latest epoch's."""
        self.terms: dict[str, Tensor] = {}
        """The latest step's."""
        self._sums: dict[str, Tensor] = {}
        self._n_samples = 0
        self._rate = math.nan
        self._started = time.monotonic()
        self._seconds_before = 0.0
        self._n_steps_logged = 0
        self._sum_over_ranks: Callable[[Tensor], Any] = lambda sums: sums

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Here rather than where training starts, which a finished run never does."""
        if trainer.is_global_zero:
            run = run_of_checkpoint(Path(str(trainer.ckpt_path)))
            self.file.start_after(epochs_done(checkpoint), None if run is None else MetricsFile(run))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_over(trainer)
        self._n_steps_logged = trainer.global_step
        self._started = time.monotonic()
        if trainer.is_global_zero:
            self.file.start_after(trainer.current_epoch)
            forget_after(trainer.loggers, trainer.global_step)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        flush(trainer.loggers)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not outputs:  # the batch was skipped
            return
        self.terms = outputs["terms"]
        for name, value in self.terms.items():
            total = _exact(value) * batch.size
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._n_samples += batch.size
        stepped = trainer.global_step > self._n_steps_logged
        cadence = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if stepped and cadence and not trainer.is_last_batch:
            self._send(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        means = self._means()
        scores = self._validation_means(trainer)
        self.record = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "lr": self._rate,
            "is_best": self.best.is_new,
            "seconds": round(self._seconds(), 3),
            **means,
            **scores,
        }
        if trainer.is_global_zero:
            self.file.append(self.record)
            self.on_event("epoch", self.record)
        self._send(trainer, **scores)
        self._sums, self._n_samples, self._seconds_before = {}, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Of all ranks together, so that any number of them can go on."""
        n_samples, sums = self._totals()
        return {"sums": sums, "n_samples": n_samples, "seconds": self._seconds() if n_samples else 0.0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sums, self._n_samples = state_dict["sums"], state_dict["n_samples"]
        self._seconds_before = state_dict["seconds"]

    def _take_over(self, trainer: L.Trainer) -> None:
        """One rank goes on with the sums of a checkpoint, the others with nothing."""
        device, mine = trainer.strategy.root_device, trainer.is_global_zero
        self._sums = {name: total.to(device) * mine for name, total in self._sums.items()}
        self._n_samples *= mine
        self._sum_over_ranks = functools.partial(trainer.strategy.reduce, reduce_op="sum")

    def _send(self, trainer: L.Trainer, **scores: float) -> None:
        """Gives the loggers the latest step's terms, means over the ranks, and what else there is."""
        self._n_steps_logged = trainer.global_step
        if not trainer.loggers:
            return
        values = trainer.strategy.reduce(
            torch.stack([value.float() for value in self.terms.values()]), reduce_op="mean"
        )
        terms = dict(zip(self.terms, values.tolist(), strict=True))
        record = {"epoch": trainer.current_epoch + 1, "lr": self._rate, **terms, **scores}
        log_record(trainer.loggers, record, trainer.global_step)

    def _totals(self) -> tuple[int, dict[str, Tensor]]:
        """Samples and sums since the epoch's start, of all ranks."""
        if not self._sums:
            return 0, {}
        n_samples = torch.full_like(next(iter(self._sums.values())), self._n_samples)
        n, *sums = self._sum_over_ranks(torch.stack([n_samples, *self._sums.values()]))
        return int(n), dict(zip(self._sums, sums, strict=True))

    def _means(self) -> Record:
        n_samples, sums = self._totals()
        return {name: float(total) / n_samples for name, total in sums.items()}

    def _validation_means(self, trainer: L.Trainer) -> Record:
        if self.best.validated_step != trainer.global_step:
            return {}
        return {name: float(x) for name, x in trainer.callback_metrics.items() if name.startswith("val/")}

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started


def _exact(value: Tensor) -> Tensor:
    """Single precision with room for sums in any order to be the same; Apple's GPUs have no such numbers."""
    return value.float() if value.device.type == "mps" else value.float().double()


def _json_line(record: Record) -> str:
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(plain) + "\n"


def _append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
