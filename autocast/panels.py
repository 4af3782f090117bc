"""What a user reads before and after the work: the rows of opening and closing panels, and progress between them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autocast.runs.caches import processor_command
from autocast.runs.console import Screen, duration, file_size
from autocast.runs.directory import RunDirectory
from autocast.runs.job import Job, Outcome
from autocast.runs.provenance import command_line
from autocast.runs.ranks import count_devices
from autocast.runs.walltime import budget_seconds

if TYPE_CHECKING:
    from autocast.autoencoders.latent_moments import LatentStatistics
    from autocast.data.datamodule import FieldDataModule
    from autocast.data.inspect import DatasetReport
    from autocast.data.latents_manifest import LatentsManifest
    from autocast.data.simulate import SimulationSummary
    from autocast.evaluation.benchmark import Benchmark
    from autocast.evaluation.comparison import Comparison
    from autocast.evaluation.cost import Measurement
    from autocast.evaluation.forecast_file import Plan
    from autocast.evaluation.result import EvaluationResult
    from autocast.evaluation.settings import EvaluationSettings
    from autocast.evaluation.verdict import Finding
    from autocast.runs.using import BenchmarkRequest
    from autocast.training.estimate import Cost
    from autocast.training.fit import FitSummary
    from autocast.training.gate.report import GateReport
    from autocast.training.progress import Display

Rows = list[tuple[str, str]]
DAY = 24 * 3600.0
PLACES = {"disk": "on disk", "ram": "in memory", "device": "on the device"}
MARKS = {"good": "✓", "warn": "!", "bad": "✗"}


def training(job: Job, model: Any, datamodule: FieldDataModule) -> Rows:
    """The opening panel of a training."""
    return [
        ("data", _data(datamodule)),
        ("model", _model(job, model)),
        ("training", _recipe(job.config)),
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
        ("memory", f"{file_size(summary.peak_memory)} at most"),
    ]
    figures = {
        "best_epoch": summary.best_epoch,
        "val/objective": summary.best_objective,
        "epochs": summary.epochs,
        "steps": summary.steps,
        "seconds": round(summary.seconds, 1),
        "peak_memory": summary.peak_memory,
        "stopped_early": summary.stopped_early,
    }
    then = f"autocast eval --workdir {job.directory.quoted}"
    return Outcome(summary=figures, rows=rows, next_command=then, products=[file])


def measured(outcome: Outcome, statistics: LatentStatistics, file: Path) -> Outcome:
    """The closing panel of an autoencoder's training: how much of its latents says something."""
    active = f"{statistics.n_active} of {_count(statistics.n_channels, 'channel')} active"
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
        ("data", _data(datamodule)),
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
        ("latents", f"{_count(n_trajectories, 'trajectory', 'trajectories')} · {_count(n_frames, 'frame')}"),
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
            f"{_count(cost.steps_per_epoch, 'step')} · {cost.seconds_per_epoch(every):.3g} s, "
            f"{ends:.2g} s of it for validation and checkpoint",
        ),
        ("memory", f"{file_size(cost.peak_memory)} at most"),
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
        "checkpoint_bytes": cost.checkpoint_bytes,
        "epochs": n_epochs,
        "hours": hours / n_devices,
        "device_hours": hours,
        "disk_bytes": round(disk),
    }
    return Outcome(figures, rows, _without_estimate(bounded=bool(limits)))


def _without_estimate(*, bounded: bool) -> str:
    """The command that really trains; a run that nothing bounds gets the day that was counted with."""
    words = [word for word in command_line() if word not in ("--estimate", "--json")]
    return shlex.join([*words, *([] if bounded else ["trainer.budget=24h"])])


def _hours(hours: float) -> str:
    """`34 s`, `12 min`, `5.3 h`"""
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def evaluation(model: Any, datamodule: FieldDataModule, settings: EvaluationSettings, device: str) -> Rows:
    """The opening panel of an evaluation."""
    n_members = 1 if model.deterministic else settings.n_members
    length = "to the end" if settings.n_steps is None else f"{settings.n_steps} steps"
    n, mode = datamodule.split("test").n_trajectories, f" · {settings.rollout}" if settings.rollout else ""
    return [
        ("data", _data(datamodule)),
        ("rollout", f"{n} test trajectories · {_count(n_members, 'member')} · {length} · seed {settings.seed}{mode}"),
        ("against", "the truth" if model.reconstructs else ", ".join(settings.baselines) or "nothing"),
        ("on", device),
    ]


def evaluated(job: Job, result: EvaluationResult, findings: list[Finding], report: Path) -> Outcome:
    """The closing panel of an evaluation: the verdict."""
    directory = report.parent
    rows = [(MARKS[finding.mark], finding.text) for finding in findings]
    rows += [("scores", f"{directory / 'metrics.csv'}, {directory / 'rollout_metrics.csv'}"), ("report", str(report))]
    verdict = [{"topic": f.topic, "mark": f.mark, "text": f.text} for f in findings]
    then = (
        f"open {report}"
        if result.reconstructs
        else _forecast_command(job.directory, job.config, deterministic=result.deterministic)
    )
    tables = ("metrics.csv", "rollout_metrics.csv", *(("latents.csv",) if result.latents is not None else ()))
    products = [directory / name for name in (*tables, "report.html")]
    return Outcome({"scores": headline(result), "verdict": verdict}, rows, then, products)


def headline(result: EvaluationResult) -> dict[str, float]:
    """The scores of the whole rollout that stand for it: `test/<metric>`."""
    table = result.windows
    if table is None:
        return {}
    kinds = ("ensemble", "mean") if result.n_members > 1 else ("member",)
    rows = table[(table.model == "model") & (table.channel == "all") & (table.window == "all") & table.kind.isin(kinds)]
    return {f"test/{metric}": float(value) for metric, value in zip(rows.metric, rows.value, strict=True)}


def simulated(summary: SimulationSummary) -> Outcome:
    """The closing panel of a simulation."""
    made = "was there already, complete" if summary.was_complete else f"{summary.n_simulated} simulated now"
    rows = [("trajectories", f"{summary.n_trajectories} · {made}"), ("digest", summary.digest[:16])]
    figures = {"path": str(summary.path), "n_trajectories": summary.n_trajectories, "digest": summary.digest}
    return Outcome(
        figures, rows, f"autocast ae --dataset {shlex.quote(str(summary.path))}", [summary.path / "manifest.json"]
    )


def inspected(report: DatasetReport, drawn: list[Path]) -> Outcome:
    """What a data set is, and what is wrong with it."""
    spec = report.spec
    grid = " × ".join(f"{name} {n}" for name, n in zip(spec.dim_names, spec.grid_shape, strict=True))
    rows: Rows = [
        ("data set", f"{spec.dataset_name} · {report.layout} layout · digest {report.digest[:16]}"),
        ("grid", f"{grid} · {', '.join(spec.boundary)} · extent {' × '.join(f'{x:g}' for x in spec.extent)}"),
        ("time", f"{spec.time_step:g} from frame to frame"),
    ]
    for name, split in report.splits.items():
        shortest, longest = split.n_steps
        frames = str(shortest) if shortest == longest else f"{shortest} to {longest}"
        size = f"{_count(split.n_files, 'file')}, {file_size(split.n_bytes)}"
        rows.append((name, f"{split.n_trajectories} trajectories × {frames} frames · {size}"))
        for channel in split.channels:
            values = (
                f"mean {channel.mean:.4g}  std {channel.std:.4g}  from {channel.minimum:.4g} to {channel.maximum:.4g}"
            )
            rows.append(("", f"{channel.name} [{channel.unit or '1'}]  {values}  change {channel.std_delta:.4g}"))
        for scalar, (low, high) in split.scalars.items():
            rows.append(("", f"{scalar}  {low:.4g}" + ("" if low == high else f" to {high:.4g}")))
    rows.append(("statistics", report.statistics))
    rows += [(finding.severity, f"{finding.check}: {finding.message}") for finding in report.findings]
    rows += [("drawn", str(file)) for file in drawn]
    checks = "no finding" if not report.findings else _count(len(report.findings), "finding")
    return Outcome(
        report.to_dict(), [*rows, ("checks", checks)], f"autocast ae --dataset {shlex.quote(str(report.path))}", drawn
    )


def forecasted(plan: Plan, file: Path) -> Outcome:
    """The closing panel of a forecast."""
    n = plan.source.n_trajectories
    ensemble = f"{_count(n, 'trajectory', 'trajectories')} × {_count(plan.n_members, 'member')} × {plan.n_steps} steps"
    rows = [("forecast", f"{ensemble} · seed {plan.seed}"), ("file", f"{file}  {file_size(file.stat().st_size)}")]
    figures = {"n_trajectories": n, "n_members": plan.n_members, "n_steps": plan.n_steps, "file": str(file)}
    return Outcome(figures, rows, "", [file])


def comparison_tables(comparison: Comparison, screen: Screen) -> None:
    """A table for each score, and one of the costs; scripts get a document instead."""
    from autocast.evaluation import comparison_text as text

    if screen.as_json:
        return
    for table in comparison.tables:
        screen.table(text.title(table), text.score_heads(table), [text.score_cells(row, table) for row in table.rows])
        screen.line()
    screen.table("costs", text.COST_HEADS, [text.cost_cells(entry) for entry in comparison.entries])
    screen.line()


def compared(comparison: Comparison, products: list[Path]) -> Outcome:
    """The closing panel of a comparison: who is better, as far as can be told."""
    from autocast.evaluation import comparison_text as text
    from autocast.evaluation.comparison_files import document

    said = [text.sentence(table) for table in comparison.tables]
    rows: Rows = [(MARKS["good"] if decided else "≈", sentence) for sentence, decided in said]
    rows += [("note", note) for note in comparison.notes]
    rows += [("written", str(file)) for file in products]
    rows = [("on", text.subject(comparison)), *rows]
    title = f"compared  {_count(sum(entry.n_seeds for entry in comparison.entries), 'run')}"
    then = "" if products else f"{typed()} --out comparison --html"
    return Outcome({"title": title, **document(comparison)}, rows, then, products)


def typed() -> str:
    """The command that was typed, for a shell."""
    return shlex.join(command_line())


def measured_run(request: BenchmarkRequest, datamodule: FieldDataModule) -> dict[str, Any]:
    """Which model a benchmark is of."""
    record = (
        request.run.run_record(request.kind, "train") if request.run.run_file(request.kind, "train").is_file() else {}
    )
    return {
        "run": str(request.run.path),
        "kind": request.kind,
        "uid": record.get("uid"),
        "checkpoint": str(request.checkpoint),
        "data": {"path": str(datamodule.header.path), "split": "test", "digest": datamodule.digest},
    }


def benchmarked(request: BenchmarkRequest, found: Benchmark, files: list[Path]) -> Outcome:
    """The closing panel of a benchmark."""
    cost = found.model
    flops = "too large to count" if cost.flops_per_step is None else f"{_short(cost.flops_per_step)}FLOP a step"
    sizes = f"{_short(cost.n_parameters)} params, {_short(cost.n_trained)} trained"
    compiled = " · compiled" if cost.compiled else ""
    rows = [
        ("model", f"{request.kind} · {sizes} · {flops}"),
        ("on", f"{_measured_on(found)}{compiled}"),
        ("", f"{'batch':>5} {'members':>7} {'steps':>5} {'median':>9} {'spread':>6} {'steps/s':>8} {'memory':>9}"),
        *((row.what, _measurement(row)) for row in cost.rows),
        *_beside_simulator(found),
        ("files", f"{', '.join(file.name for file in files)} in {request.out}"),
    ]
    return Outcome(found.to_dict(), rows, _after_benchmark(request, deterministic=found.about["deterministic"]), files)


def _measured_on(found: Benchmark) -> str:
    import torch

    if found.device.type == "cuda":
        return torch.cuda.get_device_name(found.device)
    return f"cpu, {_count(torch.get_num_threads(), 'thread')}"


def _measurement(row: Measurement) -> str:
    """A line of the table; spread is the interquartile range over the median."""
    size = f"{row.batch_size:>5} {row.n_members:>7} {row.n_steps:>5}"
    if row.seconds is None or row.seconds_q1 is None or row.seconds_q3 is None:
        return f"{size} {row.status}{': ' if row.detail else ''}{row.detail[:30]}"
    spread = f"{100 * (row.seconds_q3 - row.seconds_q1) / row.seconds:.0f} %" if row.n_repeats > 1 else "-"
    memory = file_size(row.peak_memory or 0)
    return f"{size} {_time(row.seconds):>9} {spread:>6} {row.steps_per_second:>8,.4g} {memory:>9}"


def _beside_simulator(found: Benchmark) -> Rows:
    """What a trajectory costs the simulator, and when training has paid off."""
    if found.simulator is None:
        return [("simulator", f"not compared: {found.why_no_simulator}")]
    name, n_steps, seconds = found.simulator.name, found.model.n_steps, _time(found.simulator.seconds)
    rows = [("simulator", f"{name} · {seconds} for {_count(n_steps, 'step')} of a trajectory")]
    if found.pay_off is None:
        return [*rows, ("speed-up", "not known: no rollout of one member could be measured")]
    pay_off, training = found.pay_off, sum(found.training_seconds.values())
    stages = f"training of {' and '.join(found.training_seconds)} took {_time(training)}"
    rows.append(("speed-up", f"{pay_off.speed_up:.3g} × · one member takes {_time(pay_off.model_seconds)}"))
    return [*rows, ("paid off", pay_off.verdict), *([("", stages)] if found.training_known else [])]


def _after_benchmark(request: BenchmarkRequest, *, deterministic: bool) -> str:
    run, emulates = request.run, request.kind != "ae"
    if run.done_record(request.kind, "eval") is None:
        return f"autocast eval --workdir {run.quoted}"
    if emulates:
        return _forecast_command(run, request.config, deterministic=deterministic)
    return f"open {run.eval_dir() / 'report.html'}"


def _time(seconds: float) -> str:
    """`1.23 ms`, `34.5 s`, `5:52`."""
    if seconds >= 100:
        return duration(seconds)
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{_three_digits(seconds / 1e-6)} µs"


def _three_digits(value: float) -> str:
    """`13.0`, `276`"""
    return f"{value:#.3g}".rstrip(".")


def provenance(job: Job) -> dict[str, Any]:
    """What a report says of where its figures come from."""
    import yaml

    evaluated, kind = job.directory.run_record(job.kind, job.stage), job.kind
    trained = job.directory.run_record(kind, "train") if job.directory.run_file(kind, "train").is_file() else {}
    run = {"directory": str(job.directory.path), "kind": kind, "uid": trained.get("uid", "not recorded")}
    versions = evaluated["packages"]
    return {
        "command": _evaluation_command(job),
        "config": yaml.safe_dump(job.config, sort_keys=False),
        "run": run,
        "versions": versions,
    }


def display(screen: Screen) -> Display:
    """Where a training shows its progress."""
    from autocast.training.progress import Display

    return Display(screen.rich, live=not screen.plain)


class Progress:
    """A bar on a terminal; in a pipe one line at each tenth of the work."""

    def __init__(self, screen: Screen, verb: str):
        self._screen, self._verb = screen, verb
        self._tenths = 0
        self._bar: Any = None

    def update(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif done * 10 // max(total, 1) > self._tenths:
            self._tenths = done * 10 // total
            self._screen.line(f"{self._verb}  {done}/{total}  {self._tenths * 10} %")

    def __enter__(self) -> Progress:
        if not self._screen.plain:
            from rich import progress

            columns = [progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TaskProgressColumn()]
            columns += [progress.TimeElapsedColumn(), progress.TextColumn("ETA"), progress.TimeRemainingColumn()]
            self._bar = progress.Progress(*columns, console=self._screen.rich, transient=True)
            self._task = self._bar.add_task(self._verb, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _data(datamodule: FieldDataModule) -> str:
    spec, splits = datamodule.spec, datamodule.header.splits
    counts = "/".join(str(datamodule.split(name).n_trajectories) for name in splits)
    shape = " × ".join(map(str, (datamodule.split("train").n_steps(0), *spec.grid_shape, spec.n_channels)))
    where = PLACES[datamodule.place()]
    steps = f"{datamodule.n_steps_input} → {datamodule.n_steps_output} steps"
    return f"{spec.dataset_name} · {counts} trajectories · {shape} · {steps} · {where}"


def _model(job: Job, model: Any) -> str:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = job.config["model"]
    words = [_class_name(parts["encoder"])]
    if job.kind != "ae":
        source = job.config["autoencoder_checkpoint"]
        words = [f"latent of {source} (frozen)"] if source else words
        words += [_class_name(parts["processor"]), _class_name(parts["processor"].get("backbone", {}))]
    return " · ".join([*filter(None, words), model.summary, f"{_short(trained)} params"])


def _recipe(config: dict[str, Any]) -> str:
    trainer, optimizer = config["trainer"], config["optimizer"]
    epochs, steps, budget = trainer["max_epochs"], trainer["max_steps"], trainer.get("budget")
    ema = _ema(config)
    words = [
        _count(epochs, "epoch") if epochs != -1 else "",
        _count(steps, "step") if steps != -1 else "",
        f"budget {budget}" if budget else "",
        f"batch {config['datamodule']['batch_size']}",
        _unrolled(config["datamodule"].get("n_windows", 1)),  # an older config lacks it
        f"{_class_name(optimizer['algorithm']).lower()} {optimizer['learning_rate']:g}",
        f"ema {ema:g}" if ema else "",
        str(trainer["precision"]),
        f"seed {config['seed']}",
    ]
    return " · ".join(word for word in words if word)


def _ema(config: dict[str, Any]) -> float | None:
    """The decay of averaged weights, which a sharded training has not."""
    strategy = config["trainer"]["strategy"]
    sharded = isinstance(strategy, dict) and _class_name(strategy) == "ShardedStrategy"
    return None if sharded else config["callbacks"].get("ema", {}).get("decay")


def _unrolled(n_windows: int) -> str:
    return f"unrolled over {n_windows} windows" if n_windows > 1 else ""


def _device(config: dict[str, Any]) -> str:
    import torch

    trainer = config["trainer"]
    if torch.cuda.is_available() and trainer["accelerator"] != "cpu":
        return f"{trainer['devices']} × {torch.cuda.get_device_name()}"
    return f"cpu, {_count(torch.get_num_threads(), 'thread')}"


def _evaluation_command(job: Job) -> str:
    name = job.config["eval"]["name"]
    return f"autocast eval --workdir {job.directory.quoted} eval.name={'again' if name is None else f'{name}-again'}"


def _forecast_command(run: RunDirectory, config: dict[str, Any], *, deterministic: bool) -> str:
    data = shlex.quote(str(config["datamodule"]["data_path"]))
    members = "" if deterministic else " --n-members 8"
    return f"autocast forecast {run.quoted} --from {data}{members} --out forecast.hdf5"


def _class_name(leaf: dict[str, Any]) -> str:
    return str(leaf.get("_target_", "")).rpartition(".")[2]


def _short(n: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f}"


def _count(n: int, noun: str, plural: str = "") -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
