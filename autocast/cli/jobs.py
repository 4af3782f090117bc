"""Commands that run jobs: `ae`, `cache-latents`, `processor`, `epd`, `train-eval`, `eval`."""

from __future__ import annotations

import typer

from autocast.cli import options
from autocast.cli.building import build

OF_TRAININGS = ("check", "estimate", "resume_from", "no_resume", "init_from", "preset")
USELESS = {
    "ae": ("autoencoder", "single_allocation", "explain"),
    "cache-latents": (*OF_TRAININGS, "single_allocation", "explain"),
    "processor": ("single_allocation", "explain"),
    "epd": ("single_allocation", "explain"),
    "train-eval": ("explain",),
    "eval": (*OF_TRAININGS, "autoencoder", "single_allocation"),
}
"""Options that a command has no use for."""


def start(
    context: typer.Context,
    overrides: options.Overrides = None,
    *,
    dataset: options.Dataset = None,
    autoencoder: options.Autoencoder = None,
    init_from: options.InitFrom = None,
    preset: options.Preset = None,
    config_dir: options.ConfigDir = None,
    date: options.Date = None,
    run_name: options.RunName = None,
    workdir: options.Workdir = None,
    output_base: options.OutputBase = None,
    resume_from: options.ResumeFrom = None,
    no_resume: options.NoResume = False,
    overwrite: options.Overwrite = False,
    mode: options.Mode = "local",
    cluster: options.Cluster = None,
    after: options.After = None,
    single_allocation: options.SingleAllocation = False,
    detach: options.Detach = False,
    dry_run: options.DryRun = False,
    check: options.Check = False,
    estimate: options.Estimate = False,
    explain: options.Explain = None,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    if explain is not None:
        from autocast.cli.scores import explain_scores

        explain_scores([explain, *(overrides or ())], json=json)
        return
    from autocast.runs.launch import run
    from autocast.runs.request import Request

    request = Request(
        command=str(context.command.name),
        overrides=tuple(overrides or ()),
        dataset=dataset,
        autoencoder=autoencoder,
        init_from=init_from,
        preset=preset,
        config_dir=config_dir,
        date=date,
        run_name=run_name,
        workdir=workdir,
        output_base=output_base,
        resume_from=resume_from,
        no_resume=no_resume,
        overwrite=overwrite,
        mode=mode,
        cluster=cluster,
        after=tuple(after or ()),
        single_allocation=single_allocation,
        detach=detach,
        dry_run=dry_run,
        check=check,
        estimate=estimate,
        json=json,
        verbose=verbose,
    )
    raise typer.Exit(run(request))


def command(name: str, text: str) -> typer.core.TyperCommand:
    return build(start, name, text, without=USELESS[name])
