"""The options that commands share, each spelt once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autocast.cli import completion

RUN, DATA, HOW = "Which run", "Data and model", "How"

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run directory, <date>/<run-name>, a uid or a job id.",
        autocompletion=completion.runs,
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Run directories, <date>/<run-name>, uids or job ids.",
        autocompletion=completion.runs,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[OVERRIDES]...",
        help="Hydra overrides, in any order: key=value, group=option, group@dest=option, +key=, ++key=, ~key.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="A directory, a name in $AUTOCAST_DATASETS, or an option of datamodule/.",
        rich_help_panel=DATA,
        autocompletion=completion.data_sets_and_options,
    ),
]
Autoencoder = Annotated[
    str | None,
    typer.Option(
        metavar="RUN|CKPT",
        help="Work in the latent space of this autoencoder.",
        rich_help_panel=DATA,
        autocompletion=completion.runs,
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Start from its weights (only those).",
        rich_help_panel=DATA,
        autocompletion=completion.runs,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A named set of overrides.",
        rich_help_panel=DATA,
        autocompletion=completion.presets,
    ),
]
ConfigDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A directory with configs of your own.", rich_help_panel=DATA)
]
Date = Annotated[
    str | None, typer.Option(metavar="LABEL", help="First part of the run's name (today).", rich_help_panel=RUN)
]
RunName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Second part (made from kind, data and processor).", rich_help_panel=RUN),
]
Workdir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The run directory itself, instead of the name's.",
        rich_help_panel=RUN,
        autocompletion=completion.run_directories,
    ),
]
OutputBase = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where run directories lie ($AUTOCAST_OUTPUTS or outputs).", rich_help_panel=RUN),
]
ResumeFrom = Annotated[
    str | None,
    typer.Option(
        metavar="CKPT|RUN|auto",
        help="Continue a run; auto: the one in this directory if it is unfinished.",
        rich_help_panel=RUN,
        autocompletion=completion.runs,
    ),
]
NoResume = Annotated[
    bool, typer.Option("--no-resume", help="A new run beside the one that is there.", rich_help_panel=RUN)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run of this kind that is there.", rich_help_panel=RUN)
]
Mode = Annotated[str, typer.Option(metavar="local|slurm", help="Where to run.", rich_help_panel=HOW)]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="PROFILE",
        help="A cluster profile ($AUTOCAST_CLUSTER, or that of ~/.config/autocast/config.yaml).",
        rich_help_panel=HOW,
        autocompletion=completion.profiles,
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN|JOBID",
        help="In slurm mode: start when this run or job is done. May be given several times.",
        show_default=False,
        rich_help_panel=HOW,
        autocompletion=completion.runs,
    ),
]
SingleAllocation = Annotated[
    bool,
    typer.Option("--single-allocation", help="In slurm mode: train and evaluate in one job.", rich_help_panel=HOW),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on.", rich_help_panel=HOW)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything and show what would run; write nothing.", rich_help_panel=HOW),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="The sanity gate alone: can this model learn? Writes no run.", rich_help_panel=HOW),
]
Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate", help="What the training will cost, from some steps of it. Writes no run.", rich_help_panel=HOW
    ),
]
Explain = Annotated[
    str | None,
    typer.Option(
        metavar="SCORE",
        help="What scores are: formula, unit, source, pitfalls. Several: a,b or further words; all. Needs no run.",
        rich_help_panel=HOW,
        autocompletion=completion.scores,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=HOW)]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="With --dry-run: the whole config.", rich_help_panel=HOW)
]
