"""One short function per verb: the only place where the learning tower and the operations tower meet.

Nothing heavy is imported before a verb runs, so that checks and dry runs need no torch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast import gatekeeper, panels
from autocast.errors import ConfigError, LaunchError
from autocast.preflight import data_digest, preflight
from autocast.runs import ranks
from autocast.runs.again import diagnosed_run
from autocast.runs.build import build
from autocast.runs.console import Screen, problems_text
from autocast.runs.directory import NoSuchRunError, default_output_base, find_run, run_of_file
from autocast.runs.environment import read_environment, recorded_targets_allowed
from autocast.runs.identity import sha256
from autocast.runs.job import Job, Outcome
from autocast.runs.own_keys import read_own, without_own
from autocast.runs.problems import Problem
from autocast.runs.spent import training_seconds
from autocast.signals import StoppedError
from autocast.simulations import coarse_simulators, find_simulation
from autocast.starts import Start, load, load_with_digest, open_data, reopen, start

if TYPE_CHECKING:
    from autocast.data.datamodule import FieldDataModule
    from autocast.emulators import EncoderProcessorDecoder
    from autocast.runs.comparing import CompareRequest
    from autocast.runs.reporting import ReportRequest
    from autocast.runs.sampling import SampleRequest
    from autocast.runs.using import BenchmarkRequest, ForecastRequest, InspectRequest
    from autocast.training.fit import Recipe

__all__ = [
    "benchmark", "cache_latents", "check", "compare", "data_digest", "estimate", "evaluate", "forecast", "inspect",
    "load_model",
    "preflight", "report", "sample", "simulate", "train_autoencoder", "train_epd", "train_processor",
]  # fmt: skip


def train_autoencoder(job: Job) -> Outcome:
    """Trains an autoencoder of the fields."""
    made = start(job)
    outcome = _train(job, made)
    return outcome if ranks.rank() else _measure_latents(job, made.datamodule, outcome)


def train_epd(job: Job) -> Outcome:
    """Trains an emulator, in the latent space of a trained autoencoder where the config names one."""
    return _train(job, start(job))


def cache_latents(job: Job) -> Outcome:
    """Encodes every trajectory of the data once, with a trained autoencoder."""
    from autocast.training.latent_cache import cache_latents as fill

    config, checkpoint = job.config, Path(job.config["autoencoder_checkpoint"])
    datamodule = open_data(job)
    (model, digest), device = load_with_digest(checkpoint), _device()
    job.header(panels.caching(job, model, datamodule, device))
    with panels.Progress(job.console, "encoding") as progress:
        listen = _listener(job, progress)
        manifest = fill(
            model.to(device),
            datamodule,
            Path(config["latents"]),
            checkpoint=checkpoint,
            checkpoint_sha256=digest,
            dtype=config["dtype"],
            batch_size=config["batch_size"],
            progress=lambda done, total: listen("progress", {"done": done, "total": total}),
        )
    return panels.cached(job, manifest)


def train_processor(job: Job) -> Outcome:
    """Trains a processor on cached latents; what is saved is a complete emulator of the fields."""
    return _train(job, start(job))


def check(job: Job) -> Outcome:
    """The sanity gate on what a training would start with; nothing is trained or written."""
    made = start(job)
    device = _device(job.config["trainer"]["accelerator"])
    return panels.checked(gatekeeper.examine(made.model, made.datamodule, device=device))


def estimate(job: Job) -> Outcome:
    """What a training will cost, from some steps of it; nothing of them is kept."""
    from autocast.training.estimate import measure

    made = start(job)
    recipe = _recipe(job, made.datamodule, made.pictured)
    return panels.estimated(job, measure(made.model, made.datamodule, recipe, job.config["trainer"]))


def evaluate(job: Job) -> Outcome:
    """Scores, videos, figures and the report of a trained model, on the test split."""
    from autocast.evaluation.evaluate import evaluate as score
    from autocast.evaluation.evaluate import forget_parts
    from autocast.evaluation.film_worker import Films
    from autocast.evaluation.material import draw_report, gather_material, write_material
    from autocast.evaluation.settings import EvaluationSettings
    from autocast.evaluation.sharing import Sharing, other_devices

    file, videos_dir = job.config["eval"]["checkpoint"], job.config["eval"]["video_dir"]
    directory = job.directory.eval_dir(job.stage)
    settings = EvaluationSettings.from_config(job.config["eval"])
    datamodule = open_data(job)
    simulators = coarse_simulators(settings.baselines, datamodule.header.manifest)
    checkpoint = Path(file) if file else job.directory.checkpoint_file(job.kind)
    model = load(checkpoint, job.config)
    device = _device(job.config["trainer"]["accelerator"])
    job.header(panels.evaluation(model, datamodule, settings, device))
    opening = functools.partial(reopen, checkpoint, job.config)
    films_dir = Path(videos_dir or directory / "videos")
    with Films(films_dir, settings.fps) as films:
        with panels.Progress(job.console, "rolling out") as progress:
            result = score(
                model.to(device),
                datamodule,
                settings,
                directory,
                _listener(job, progress),
                device=device,
                identity={"weights": sha256(checkpoint), "model": job.config["model"]},
                sharing=Sharing(opening, other_devices(settings.devices, device)) if settings.devices > 1 else None,
                simulators=simulators,
                on_example=films.draw if settings.video else None,
            )
        result.provenance.update(panels.provenance(job))
        material = gather_material(result, directory, films_dir if settings.video else None)
        write_material(material, directory)
        with panels.Progress(job.console, "drawing films") as progress:
            films.finish(_listener(job, progress))
    drawn = draw_report(material, directory, directory / "report.html", directory / "figures")
    films.check()
    forget_parts(directory)
    _track(job, panels.headline(result), [*(each.png for each in drawn.figures), *(film.path for film in drawn.films)])
    return panels.evaluated(job, result, drawn.findings, drawn.page)


def simulate(config: dict[str, Any], console: Screen) -> Outcome:
    """Makes a data set in The Well's layout."""
    from autocast.data.simulate import simulate_dataset

    with panels.Progress(console, "simulating") as progress:
        summary = simulate_dataset(
            build(config["simulator"]),
            config["data_path"],
            splits=config["splits"],
            seed=config["seed"],
            batch_size=config["batch_size"],
            device=_device(),
            progress=progress.update,
        )
    return panels.simulated(summary)


def inspect(request: InspectRequest, console: Screen) -> Outcome:
    """Reads a data set whole and tells what it is, and what is wrong with it."""
    from autocast.data.headers import describe
    from autocast.data.inspect import inspect_dataset
    from autocast.data.splits import open_split

    header = describe(request.dataset, size=request.size, column=request.column)
    with panels.Progress(console, "reading") as progress:
        report = inspect_dataset(header, progress=progress.update)
    drawn = []
    if request.video is not None:
        from autocast.evaluation.samples import draw_dataset

        drawn = [draw_dataset(open_split(header, next(iter(report.splits))), request.video)]
    return panels.inspected(request, report, drawn)


def forecast(request: ForecastRequest, console: Screen) -> Outcome:
    """Streams an ensemble forecast to a file in The Well's layout."""
    from autocast.evaluation.forecast_file import plan_forecast, write_forecast

    plan = plan_forecast(
        load_model(request.checkpoint).to(_device()),
        request.source,
        split=request.split,
        n_steps=request.n_steps,
        n_members=request.n_members,
        seed=request.seed,
    )
    with panels.Progress(console, "forecasting") as progress:
        write_forecast(plan, request.out, batch_size=request.batch_size, progress=progress.update)
    return panels.forecasted(plan, request.out)


def compare(request: CompareRequest, console: Screen) -> Outcome:
    """Evaluated runs side by side; nothing is written where something speaks against comparing them."""
    from autocast.evaluation.comparable import Candidate, Wishes
    from autocast.evaluation.comparison import compare as side_by_side

    candidates = [Candidate(**vars(contender)) for contender in request.contenders]
    comparison, found = side_by_side(candidates, Wishes(**request.wishes), request.against)
    problems = [*request.problems, *(Problem(*problem) for problem in found)]
    if comparison is None or problems:
        unknown = request.all_unknown and not found
        raise (NoSuchRunError if unknown else ConfigError)(problems_text(problems))
    if request.dry_run:
        return Outcome()
    panels.comparison_tables(comparison, console)
    products: list[Path] = []
    if request.out is not None:
        from autocast.evaluation.comparison_page import write_comparison  # draws, so it takes matplotlib along

        products = write_comparison(comparison, request.out, panels.typed(), html=request.html)
    return panels.compared(comparison, products)


def report(request: ReportRequest, console: Screen) -> Outcome:
    """Draws the report of an evaluation again, from what it keeps for that: no model, no data."""
    from autocast.evaluation.material import draw_report, read_material

    material = read_material(request.directory)
    drawn = draw_report(material, request.directory, request.page, request.figures, largest=request.largest)
    return panels.reported(request, drawn, console)


def sample(request: SampleRequest, console: Screen) -> Outcome:
    """Draws what an autoencoder has learnt, as grids."""
    from autocast.evaluation.latent_samples import draw_all

    device, names = _device(), ("n_rows", "prior", "seed")
    with recorded_targets_allowed(request.run.recorded_targets("ae")):
        models = {label: load(file).to(device) for label, file in request.checkpoints.items()}
        frames = build(request.config["datamodule"]).split("valid")
    with panels.Progress(console, "drawing") as progress:
        how = {name: getattr(request, name) for name in names}
        request.out.mkdir(parents=True, exist_ok=True)
        files = draw_all(models, frames, request.out, **how, progress=progress.update)
    return panels.sampled(request, files)


def benchmark(request: BenchmarkRequest, console: Screen) -> Outcome:
    """Measures what a trained model costs, and what the simulator of its data does."""
    import torch

    from autocast.evaluation.benchmark import Subject, run_benchmark, write_benchmark
    from autocast.evaluation.cost import CostSettings

    config, device = request.config, torch.device(_device_named(request.device))
    with recorded_targets_allowed(request.run.recorded_targets(request.kind)):
        model, datamodule = load(request.checkpoint).to(device), build(config["datamodule"])
        simulator = find_simulation(datamodule.header.manifest) if request.simulator else "--no-simulator"
        seconds = training_seconds(request.run, request.kind)
        subject = Subject(
            about=panels.measured_run(request, datamodule),
            simulator=simulator,
            trains_autoencoder=config.get("autoencoder_checkpoint") is None,
            training_seconds=seconds,
            training_known=request.kind in seconds,
        )
        names = ("members", "batch_sizes", "n_steps", "seconds", "compile")
        settings = CostSettings(**{name: getattr(request, name) for name in names})
        with panels.Progress(console, "measuring") as progress:
            found = run_benchmark(
                model,
                datamodule.split("test"),
                settings,
                subject,
                device=device,
                progress=progress.update,
                note=console.note,
            )
    return panels.benchmarked(request, found, write_benchmark(found, request.out))


def load_model(run: str | Path) -> EncoderProcessorDecoder:
    """The emulator (or autoencoder) of a run directory, `<date>/<run-name>` or checkpoint file, on the CPU.

    Raises:
        LaunchError: There is no such run, or nothing in it to load yet.
    """
    read_environment()
    file = Path(run)
    directory = run_of_file(file) if file.is_file() else find_run(run, default_output_base())
    if directory is None:
        return load(file)
    kind = directory.kind_to_evaluate()
    if kind is None:
        raise LaunchError(f"{directory.path}: nothing to load yet; its training has written no checkpoint.")
    with recorded_targets_allowed(directory.recorded_targets(kind)):
        return load(file if file.is_file() else directory.checkpoint_file(kind))


def _train(job: Job, made: Start) -> Outcome:
    from autocast.training.checkpoints import newest_valid
    from autocast.training.fit import Destination, fit

    model, datamodule, pictured = made
    resume_from = job.resume_from
    if resume_from is not None and resume_from.parent == job.directory.checkpoints_dir(job.kind):
        resume_from = newest_valid(resume_from.parent)
    destination = Destination(
        kind=job.kind,
        directory=job.directory.kind_dir(job.kind),
        main_file=job.directory.checkpoint_file(job.kind),
        config=job.config,
        spec=model.spec.to_dict(),
        diagnosed=diagnosed_run(job.directory, job.kind, job.config),
    )
    job.header(panels.training(job, model, datamodule))
    gatekeeper.guard(job, model, datamodule, device=_device(job.config["trainer"]["accelerator"]))
    summary = fit(
        model,
        datamodule,
        dataclasses.replace(_recipe(job, datamodule, pictured), loggers=_loggers(job)),
        destination,
        resume_from=resume_from,
        stop=job.stop,
        display=panels.display(job.console),
        on_event=lambda event, values: job.emit(event, **values),
    )
    return panels.trained(job, summary)


def _measure_latents(job: Job, datamodule: FieldDataModule, outcome: Outcome) -> Outcome:
    """Statistics of the latents over the training split, with the weights that others will load."""
    from autocast.training.latent_statistics import latent_statistics, write_latent_statistics

    checkpoint = job.directory.checkpoint_file(job.kind)
    model = load(checkpoint, job.config).to(_device(job.config["trainer"]["accelerator"]))
    with panels.Progress(job.console, "measuring latents") as progress:

        def show(done: int, total: int) -> None:
            progress.update(done, total)
            if job.stop.reason:
                raise StoppedError(job.stop.reason, outcome.summary["epochs"], outcome.summary["steps"])

        split = datamodule.split("train")
        statistics = latent_statistics(model, split, batch_size=datamodule.batch_size, progress=show)
    file = write_latent_statistics(
        statistics,
        job.directory.latent_statistics_file,
        checkpoint_sha256=sha256(checkpoint),
        data_digest=datamodule.digest,
    )
    return panels.measured(outcome, statistics, file)


def _recipe(job: Job, datamodule: FieldDataModule, pictured: FieldDataModule) -> Recipe:
    """Without trackers, which belong to a run."""
    from autocast.training.checkpoints import CheckpointSettings
    from autocast.training.fit import Recipe

    config = job.config
    optimizer = config["optimizer"]
    checkpoint = CheckpointSettings(**config["checkpoint"])
    callbacks = {name: build(leaf) for name, leaf in config["callbacks"].items()}
    return Recipe(
        **read_own(config["trainer"]),
        trainer=build(without_own(config["trainer"])),
        optimizer=functools.partial(build(optimizer["algorithm"]), lr=optimizer["learning_rate"]),
        lr_scheduler=build(optimizer["lr_scheduler"]) if optimizer["lr_scheduler"] else None,
        callbacks={**callbacks, **_pictures(job, pictured)},
        checkpoint=checkpoint,
        augment=datamodule.augmentation,
        curriculum=_curriculum(config),
        seed=config["seed"],
    )


def _pictures(job: Job, pictured: FieldDataModule) -> dict[str, Any]:
    """What draws while a model is trained: snapshots of a forecast, or the grids that `samples` of an autoencoder asks
    for."""
    from autocast.evaluation.samples import draw_samples
    from autocast.evaluation.training_grids import draw_training_grids
    from autocast.training.samples import Samples

    def note(text: str) -> None:
        job.console.note(text)
        job.emit("note", text=text)

    config, valid = job.config, pictured.split("valid")
    if "samples" not in config:
        draw = functools.partial(draw_samples, trajectories=valid)
        return {"samples": Samples(draw, config["checkpoint"]["every_n_epochs"] or 10, note=note)}
    asked = config["samples"]
    if asked["every_n_epochs"] is None:
        return {}
    draw = functools.partial(draw_training_grids, trajectories=valid, n_frames=asked["n_frames"])
    return {"samples": Samples(draw, asked["every_n_epochs"], first_epochs=asked["first_epochs"], note=note)}


def _curriculum(config: Mapping[str, Any]) -> Any:
    """Of an emulator; an autoencoder has no windows to unroll."""
    leaf = config["training"]["curriculum"] if "training" in config else None
    return build(leaf) if leaf else None


def _loggers(job: Job) -> dict[str, Any]:
    """The trackers of the config; what only the run knows fills the keys that they leave open."""
    training = job.directory.run_file(job.kind, "train").is_file()
    uid = job.directory.run_record(job.kind, "train")["uid"] if training else job.uid
    known = {"id": uid, "name": job.directory.label, "save_dir": str(job.directory.logs_dir(job.kind))}
    loggers = {}
    for name, leaf in job.config["logging"].items():
        opened = {key: known[key] for key, value in leaf.items() if value is None and key in known}
        job.directory.logs_dir(job.kind).mkdir(parents=True, exist_ok=True)
        loggers[name] = build({**leaf, **opened})
    return loggers


def _track(job: Job, scores: dict[str, float], files: list[Path]) -> None:
    """Adds an evaluation to the trackers' runs that its training opened."""
    from autocast.training.media import finish_trackers, log_media, log_record, start_trackers

    loggers = list(_loggers(job).values())
    start_trackers(loggers, job.config)
    log_media(loggers, "test/evaluation", files, step=0)
    log_record(loggers, scores, step=0)
    finish_trackers(loggers, failed=False)


def _listener(job: Job, progress: panels.Progress) -> Any:
    """Shows progress, prints notes, and keeps everything else as events."""

    def listen(event: str, values: dict[str, Any]) -> None:
        if event == "progress":
            progress.update(values["done"], values["total"])
            if job.stop.reason:
                raise StoppedError(job.stop.reason)
            return
        if event == "note":
            job.console.note(values["text"])
        job.emit(event, **values)

    return listen


def _device_named(name: str) -> str:
    """One of "auto", "cpu" and "cuda".

    Raises:
        ConfigError: It is not on this machine.
    """
    device = _device(name)
    if name == "cuda" and device != "cuda":
        raise ConfigError("--device cuda: torch finds no GPU on this machine. Accepted here: auto, cpu.")
    return device


def _device(accelerator: str = "auto") -> str:
    import torch

    return "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"
