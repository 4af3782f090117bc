"""When the sanity gate is asked before a training, and what becomes of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autocast.runs import ranks
from autocast.runs.job import Job
from autocast.runs.walltime import longest_training

if TYPE_CHECKING:
    from autocast.data.datamodule import FieldDataModule
    from autocast.training.gate.report import GateReport
    from autocast.types import Batch

AUTO, ALWAYS, NEVER = "auto", "always", "never"
REMEDY = "All checks: the same command with --check. To train all the same: gate=never."


def guard(job: Job, model: Any, datamodule: FieldDataModule, *, device: str) -> None:
    """Stops a training that may take more than an hour before its first step, if its model cannot learn.

    Of several processes one asks for all; a training that is continued has been asked at its start.

    Raises:
        GateError: A check failed; what was found is in the journal, as it is where none did.
    """
    mode = job.config.get("gate", AUTO)  # a run of an earlier version has no such key
    if mode == NEVER or job.resume_from is not None or ranks.rank():
        return
    if mode == AUTO and not _is_long(job, model, datamodule, device):
        return
    report = examine(model, datamodule, device=device)
    job.emit("gate", **report.to_dict())
    report.raise_if_failed(REMEDY)
    job.console.line(f"sanity gate: {report.summary}")


def examine(model: Any, datamodule: FieldDataModule, *, device: str) -> GateReport:
    """What the gate says of a model and the data that it is to be trained on."""
    from autocast.training.gate.gate import check_model

    return check_model(model, _first_batch(datamodule), periodic=datamodule.spec.periodic, device=device)


def _is_long(job: Job, model: Any, datamodule: FieldDataModule, device: str) -> bool:
    from autocast.training.gate.duration import count_batches, is_long, may_be_long

    trainer, limit = job.config["trainer"], longest_training(job.config)
    n_batches = count_batches(
        len(datamodule.train_dataloader()),
        max_epochs=trainer["max_epochs"],
        max_steps=trainer["max_steps"],
        limit_train_batches=trainer["limit_train_batches"],
        accumulated=trainer["accumulate_grad_batches"],
    )
    if not may_be_long(n_batches, limit):
        return False
    n_devices = (ranks.count_devices(trainer["devices"]) or 1) * trainer["num_nodes"]
    batch = _first_batch(datamodule)
    n_windows = -(-batch.size // n_devices)
    piece, *_ = batch.split(min(n_windows, trainer.get("micro_batch") or n_windows))
    return is_long(model, piece, n_batches=n_batches * n_windows / piece.size, device=device)


def _first_batch(datamodule: FieldDataModule) -> Batch:
    return next(iter(datamodule.train_dataloader()))
