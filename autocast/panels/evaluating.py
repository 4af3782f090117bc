"""Panels of evaluations and forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autocast.panels.words import MARKS, Rows, count, data_line, evaluation_command, forecast_command
from autocast.runs.console import Screen, file_size
from autocast.runs.job import Job, Outcome

if TYPE_CHECKING:
    from autocast.data.datamodule import FieldDataModule
    from autocast.evaluation.forecast_file import Plan
    from autocast.evaluation.material import DrawnReport
    from autocast.evaluation.result import EvaluationResult
    from autocast.evaluation.settings import EvaluationSettings
    from autocast.evaluation.verdict import Finding
    from autocast.runs.reporting import ReportRequest


def evaluation(model: Any, datamodule: FieldDataModule, settings: EvaluationSettings, device: str) -> Rows:
    """The opening panel of an evaluation."""
    n_members = 1 if model.deterministic else settings.n_members
    length = "to the end" if settings.n_steps is None else f"{settings.n_steps} steps"
    n, mode = datamodule.split("test").n_trajectories, f" · {settings.rollout}" if settings.rollout else ""
    rows = [
        ("data", data_line(datamodule)),
        ("rollout", f"{n} test trajectories · {count(n_members, 'member')} · {length} · seed {settings.seed}{mode}"),
        ("against", "the truth" if model.reconstructs else ", ".join(settings.baselines) or "nothing"),
    ]
    if settings.calibrate:
        n = datamodule.split("valid").n_trajectories
        rows.append(("calibrated", f"{settings.calibrate}, fitted to {n} validation trajectories"))
    if settings.stress:
        rows.append(("beyond", f"{count(settings.stress, 'step')} of one member, without truth"))
    return [*rows, ("on", device)]


def evaluated(job: Job, result: EvaluationResult, findings: list[Finding], report: Path) -> Outcome:
    """The closing panel of an evaluation: the verdict."""
    directory = report.parent
    rows = _verdict_rows(findings)
    rows += [("scores", f"{directory / 'metrics.csv'}, {directory / 'rollout_metrics.csv'}"), ("report", str(report))]
    then = (
        f"open {report}"
        if result.reconstructs
        else forecast_command(job.directory, job.config, deterministic=result.deterministic)
    )
    calibrated = ("calibration.csv", "intervals.csv") if result.calibration is not None else ()
    tables = (
        "metrics.csv",
        "rollout_metrics.csv",
        *(("latents.csv",) if result.latents is not None else ()),
        *(("stress.csv",) if result.stress is not None else ()),
        *calibrated,
    )
    products = [directory / name for name in (*tables, "report.html")]
    return Outcome({"scores": headline(result), "verdict": _verdict(findings)}, rows, then, products)


def reported(request: ReportRequest, drawn: DrawnReport, screen: Screen) -> Outcome:
    """The closing panel of a report that was drawn again."""
    if drawn.missing:
        screen.note(f"not in the report, as they are not there: {', '.join(drawn.missing)}. {_ways_to_films(request)}")
    rows = [*_verdict_rows(drawn.findings), ("report", f"{drawn.page}  {file_size(drawn.page.stat().st_size)}")]
    summary = {"report": str(drawn.page), "verdict": _verdict(drawn.findings), "missing": drawn.missing}
    return Outcome(summary, rows, f"open {drawn.page}", [drawn.page])


def _ways_to_films(request: ReportRequest) -> str:
    run, kind = request.run, request.run.kind_of_stage(request.stage)
    if kind is not None and not run.done_file(kind, request.stage).is_file():
        return f"Its evaluation has not ended well; this draws them: autocast resume {run.quoted}"
    return f"To draw films, evaluate again: autocast eval --workdir {run.quoted} eval.name=films"


def _verdict(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"topic": f.topic, "mark": f.mark, "text": f.text} for f in findings]


def _verdict_rows(findings: list[Finding]) -> Rows:
    return [(MARKS[finding.mark], finding.text) for finding in findings]


def headline(result: EvaluationResult) -> dict[str, float]:
    """The scores of the whole rollout that stand for it: `test/<metric>`."""
    table = result.windows
    if table is None:
        return {}
    kinds = ("ensemble", "mean") if result.n_members > 1 else ("member",)
    rows = table[(table.model == "model") & (table.channel == "all") & (table.window == "all") & table.kind.isin(kinds)]
    return {f"test/{metric}": float(value) for metric, value in zip(rows.metric, rows.value, strict=True)}


def forecasted(plan: Plan, file: Path) -> Outcome:
    """The closing panel of a forecast."""
    n = plan.source.n_trajectories
    ensemble = f"{count(n, 'trajectory', 'trajectories')} × {count(plan.n_members, 'member')} × {plan.n_steps} steps"
    rows = [("forecast", f"{ensemble} · seed {plan.seed}"), ("file", f"{file}  {file_size(file.stat().st_size)}")]
    figures = {"n_trajectories": n, "n_members": plan.n_members, "n_steps": plan.n_steps, "file": str(file)}
    return Outcome(figures, rows, "", [file])


def provenance(job: Job) -> dict[str, Any]:
    """What a report says of where its figures come from."""
    import yaml

    evaluated, kind = job.directory.run_record(job.kind, job.stage), job.kind
    trained = job.directory.run_record(kind, "train") if job.directory.run_file(kind, "train").is_file() else {}
    run = {"directory": str(job.directory.path), "kind": kind, "uid": trained.get("uid", "not recorded")}
    versions = evaluated["packages"]
    return {
        "command": evaluation_command(job),
        "config": yaml.safe_dump(job.config, sort_keys=False),
        "run": run,
        "versions": versions,
    }
