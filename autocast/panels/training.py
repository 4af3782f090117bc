"""Panels of trainings, and of what is done with a model before and after them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast.panels.words import DAY, Rows, class_name, count, data_line, short
from autocast.runs.beta import count_numbers, kl_beta
from autocast.runs.caches import processor_command
from autocast.runs.console import file_size
from autocast.runs.job import Job, Outcome
from autocast.runs.provenance import command_line
from autocast.runs.ranks import count_devices
from autocast.runs.walltime import budget_seconds

if TYPE_CHECKING:
    from autocast.autoencoders.latent_moments import LatentStatistics
    from autocast.data.datamodule import FieldDataModule
    from autocast.data.latents_manifest import LatentsManifest
    from autocast.training.estimate import Cost
    from autocast.training.fit import FitSummary
    from autocast.training.gate.report import GateReport


def training(job: Job, model: Any, datamodule: FieldDataModule) -> Rows:
    """The opening panel of a training."""
    return [
        ("data", data_line(datamodule)),
        ("model", _model(job, model)),
        *(objective_rows(job.config, model) if job.kind == "ae" else []),
        ("training", recipe_line(job.config)),
        ("on", _device(job.config)),
    ]


def trained(job: Job, summary: FitSummary) -> Outcome:
    """The closing panel of a training, and what to type next."""
    file = summary.checkpoint_file
    best = "none yet" if summary.best_objective is None else f"{summary.best_objective:.4g}"
    early = "   stopped early" if summary.stopped_early else ""
    averaged = " · ema" if _ema(job.config) else ""
    rows = [
        ("best", f"epoch {summary.best_epoch} of {summary.epochs}   val/objective {best}{early}"),
        (file.name, f"{file_size(file.stat().st_size)}{averaged}"),
        ("memory", " ".join([f"{file_size(summary.peak_memory)} at most", *_pieces(summary.micro_batch)])),
        *_pictures(job),
    ]
    figures = {
        "best_epoch": summary.best_epoch,
        "val/objective": summary.best_objective,
        "epochs": summary.epochs,
        "steps": summary.steps,
        "seconds": round(summary.seconds, 1),
        "peak_memory": summary.peak_memory,
        "micro_batch": summary.micro_batch,
        "stopped_early": summary.stopped_early,
    }
    then = f"autocast eval --workdir {job.directory.quoted}"
    return Outcome(summary=figures, rows=rows, next_command=then, products=[file])


def _pictures(job: Job) -> Rows:
    """Where those of an autoencoder are, and how the last ones are drawn."""
    if job.kind != "ae":
        return []
    samples = job.directory.kind_dir(job.kind) / "samples"
    drawn = [f"{samples.relative_to(job.directory.path)}/"] if samples.is_dir() else []
    return [("pictures", " · ".join([*drawn, f"autocast sample {job.directory.quoted}"]))]


def measured(outcome: Outcome, statistics: LatentStatistics, file: Path) -> Outcome:
    """The closing panel of an autoencoder's training: how much of its latents says something."""
    active = f"{statistics.n_active} of {count(statistics.n_channels, 'channel')} active"
    row = ("latents", f"{active} · participation ratio {statistics.participation_ratio:.3g}")
    figures = {"n_active": statistics.n_active, "participation_ratio": round(statistics.participation_ratio, 3)}
    return replace(
        outcome,
        summary={**outcome.summary, "latents": figures},
        rows=[*outcome.rows, row],
        products=[*outcome.products, file],
    )


def caching(job: Job, model: Any, datamodule: FieldDataModule, device: str) -> Rows:
    """The opening panel of a cache of latents."""
    encoder = model.autoencoder.encoder
    shape = " × ".join(str(n) for n in (*encoder.grid_shape, encoder.n_channels))
    source = job.config["autoencoder_checkpoint"]
    return [
        ("data", data_line(datamodule)),
        ("latents", f"{type(encoder).__name__} of {source} · {shape} a frame · {job.config['dtype']}"),
        ("in", str(job.config["latents"])),
        ("on", device),
    ]


def cached(job: Job, manifest: LatentsManifest) -> Outcome:
    """The closing panel of a cache of latents."""
    files = [manifest.file(split) for split in manifest.splits]
    n_trajectories, n_frames = sum(map(len, manifest.splits.values())), sum(map(sum, manifest.splits.values()))
    n_bytes = sum(file.stat().st_size for file in files)
    rows = [
        ("latents", f"{count(n_trajectories, 'trajectory', 'trajectories')} · {count(n_frames, 'frame')}"),
        ("in", f"{manifest.directory} · {file_size(n_bytes)} as {manifest.dtype}"),
    ]
    figures = {
        "latents": str(manifest.directory),
        "dtype": manifest.dtype,
        "n_trajectories": n_trajectories,
        "n_frames": n_frames,
        "n_bytes": n_bytes,
    }
    then = processor_command(job.config)
    return Outcome(figures, rows, then, [manifest.directory / "manifest.json"])


def checked(report: GateReport) -> Outcome:
    """What the sanity gate found: check, result and figure, and below them what to do."""
    rows: Rows = []
    for found in report.results:
        rows.append((found.check, f"{found.result:<8} {found.figure}"))
        rows += [("", f"{'':<8} {found.advice}")] if found.advice else []
    return Outcome(report.to_dict(), [*rows, ("in all", report.summary)])


def estimated(job: Job, cost: Cost) -> Outcome:
    """What a training will cost: for its budget where it has one, else for its epochs or steps."""
    config = job.config
    trainer, every = config["trainer"], config["trainer"]["check_val_every_n_epoch"] or 1
    n_devices = (count_devices(trainer["devices"]) or 1) * trainer["num_nodes"]
    budget = budget_seconds(trainer.get("budget"))
    limits = [cost.epochs(budget * n_devices, every)] if budget else []
    limits += [trainer["max_epochs"]] if trainer["max_epochs"] not in (None, -1) else []
    limits += [trainer["max_steps"] / cost.steps_per_epoch] if trainer["max_steps"] != -1 else []
    n_epochs = min(limits, default=cost.epochs(DAY, every))
    hours = cost.hours(n_epochs, every)
    disk = cost.disk(n_epochs, config["checkpoint"]["every_n_epochs"])
    n_samples = config["datamodule"]["batch_size"] * trainer["accumulate_grad_batches"]
    speed = f"{cost.seconds_per_step:.3g} s · {n_samples / cost.seconds_per_step:.0f} samples/s"
    ends = (cost.seconds_per_validation + cost.seconds_per_ending) / every
    on = f" on {n_devices} devices at best" if n_devices > 1 else ""
    rows = [
        ("step", f"{speed} (mean of {cost.n_timed}, {_device(config)})"),
        (
            "epoch",
            f"{count(cost.steps_per_epoch, 'step')} · {cost.seconds_per_epoch(every):.3g} s, "
            f"{ends:.2g} s of it for validation and checkpoint",
        ),
        ("memory", " ".join([f"{file_size(cost.peak_memory)} at most", *_pieces(cost.micro_batch)])),
        (
            "in all",
            f"{n_epochs:,.4g} epochs · {n_epochs * cost.steps_per_epoch:,.0f} steps · {_hours(hours / n_devices)}{on}",
        ),
        ("costs", f"{hours:.3g} device hours · {file_size(disk)} of checkpoints of {file_size(cost.checkpoint_bytes)}"),
    ]
    figures = {
        "seconds_per_step": cost.seconds_per_step,
        "seconds_per_epoch": cost.seconds_per_epoch(every),
        "steps_per_epoch": cost.steps_per_epoch,
        "peak_memory": cost.peak_memory,
        "micro_batch": cost.micro_batch,
        "checkpoint_bytes": cost.checkpoint_bytes,
        "epochs": n_epochs,
        "hours": hours / n_devices,
        "device_hours": hours,
        "disk_bytes": round(disk),
    }
    more = [] if limits else ["trainer.budget=24h"]
    if cost.micro_batch != trainer.get("micro_batch"):
        more.append(f"trainer.micro_batch={cost.micro_batch}")
    return Outcome(figures, rows, _without_estimate(more))


def _without_estimate(more: Sequence[str]) -> str:
    """The command that really trains: a run that nothing bounds gets the day that was counted with, and one whose
    batches did not fit in memory the pieces that did."""
    words = [word for word in command_line() if word not in ("--estimate", "--json")]
    return shlex.join([*words, *more])


def _hours(hours: float) -> str:
    """`34 s`, `12 min`, `5.3 h`"""
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def objective_rows(config: dict[str, Any], model: Any) -> Rows:
    """Every weight, and what that of the KL term is in the units in which runs can be compared."""
    n_numbers = count_numbers(model.spec.to_dict())
    beta = kl_beta(config["model"]["objective"], n_numbers)
    rows = [("objective", model.objective.summary)]
    if beta is not None:
        rows.append(("beta", f"{beta:.3g} in the end, as of an ELBO over the {n_numbers:,} numbers of a frame"))
    return rows


def _model(job: Job, model: Any) -> str:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = job.config["model"]
    words = [class_name(parts["encoder"])]
    if (bottleneck := class_name(parts["bottleneck"])) != "IdentityBottleneck":
        words.append(bottleneck)
    if job.kind != "ae":
        source = job.config["autoencoder_checkpoint"]
        words = [f"latent of {source} (frozen)"] if source else words
        words += [class_name(parts["processor"]), class_name(parts["processor"].get("backbone", {}))]
    return " · ".join([*filter(None, words), model.summary, f"{short(trained)} params"])


def recipe_line(config: dict[str, Any]) -> str:
    trainer, optimizer = config["trainer"], config["optimizer"]
    epochs, steps, budget = trainer["max_epochs"], trainer["max_steps"], trainer.get("budget")
    ema = _ema(config)
    words = [
        count(epochs, "epoch") if epochs != -1 else "",
        count(steps, "step") if steps != -1 else "",
        f"budget {budget}" if budget else "",
        " ".join([f"batch {config['datamodule']['batch_size']}", *_pieces(trainer.get("micro_batch"))]),
        _unrolled(config["datamodule"].get("n_windows", 1)),  # an older config lacks it
        f"{class_name(optimizer['algorithm']).lower()} {optimizer['learning_rate']:g}",
        f"ema {ema:g}" if ema else "",
        str(trainer["precision"]),
        f"seed {config['seed']}",
    ]
    return " · ".join(word for word in words if word)


def _pieces(micro_batch: int | None) -> list[str]:
    return [f"in pieces of {micro_batch}"] if micro_batch else []


def _ema(config: dict[str, Any]) -> float | None:
    """The decay of averaged weights, which a sharded training has not."""
    strategy = config["trainer"]["strategy"]
    sharded = isinstance(strategy, dict) and class_name(strategy) == "ShardedStrategy"
    return None if sharded else config["callbacks"].get("ema", {}).get("decay")


def _unrolled(n_windows: int) -> str:
    return f"unrolled over {n_windows} windows" if n_windows > 1 else ""


def _device(config: dict[str, Any]) -> str:
    import torch

    trainer = config["trainer"]
    if torch.cuda.is_available() and trainer["accelerator"] != "cpu":
        return f"{trainer['devices']} × {torch.cuda.get_device_name()}"
    return f"cpu, {count(torch.get_num_threads(), 'thread')}"
