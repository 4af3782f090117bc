"""What an evaluation makes of all that its streams have seen: a result, tables, and a record for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autocast.evaluation import tables
from autocast.evaluation.baselines import fitted_trajectories
from autocast.evaluation.calibration_tables import calibration_result
from autocast.evaluation.files import write_table
from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.plan import EvaluationData, Plan
from autocast.evaluation.record import Record, metric_facts, write_record
from autocast.evaluation.result import MEAN, MEMBER, MODEL, RECONSTRUCTION, EvaluationResult, Spectrum
from autocast.evaluation.work import OnEvent, Work
from autocast.metrics.registry import METRICS, resolve_metrics
from autocast.metrics.streams import SpectrumStream


def result_of(work: Work, model: Forecasts, datamodule: EvaluationData) -> EvaluationResult:
    """Everything that the streams of a piece of work have seen."""
    plan, streams = work.plan, work.streams
    headline = MEAN if plan.n_members > 1 else MEMBER
    own = streams[MODEL]
    per_trajectory = own.by_trajectory(METRICS["vrmse"], headline, 1, plan.n_steps).mean(-1)
    return EvaluationResult(
        spec=plan.spec,
        scores=tables.lead_time_table(streams, plan.spec),
        n_members=plan.n_members,
        n_trajectories=plan.n_trajectories,
        n_steps=plan.n_steps,
        deterministic=model.deterministic,
        reconstructs=model.reconstructs,
        examples=work.examples.finish(dict(enumerate(per_trajectory.tolist()))),
        spectra=_spectrum(plan, work.spectra),
        latents=work.usage.finish() if work.usage else None,
        coverage=tables.coverage_table(own, plan.spec, plan.windows) if plan.n_members > 1 else None,
        ranks=tables.rank_table(own, plan.spec, plan.windows) if plan.n_members > 1 else None,
        winkler=tables.winkler_table(own, plan.spec, plan.windows) if own.measures("winkler") else None,
        windows=tables.window_table(streams, plan.spec, plan.windows),
        calibration=None if work.calibrated is None else calibration_result(work.calibrated, plan),
        trajectories=tables.trajectory_table(streams, plan.spec, plan.windows),
        lengths=tuple(plan.lengths),
        provenance=_provenance(work, datamodule),
    )


def _spectrum(plan: Plan, spectra: Mapping[str, SpectrumStream]) -> Spectrum | None:
    if plan.grid.n_shells == 0:
        return None
    model, reconstruction = spectra[MODEL], spectra.get(RECONSTRUCTION)
    return Spectrum(
        wavenumber=np.array(plan.grid.wavenumbers),
        lead_times=model.lead_times,
        truth=model.average("truth"),
        member=model.average("member"),
        mean=model.average("mean") if plan.n_members > 1 else None,
        reconstruction=None if reconstruction is None else reconstruction.average("member"),
        member_bounds=model.bounds("member"),
    )


def write_result(result: EvaluationResult, work: Work, out_dir: Path, n_parameters: int | None) -> None:
    """The tables that are asked for, and the record that programs read of them."""
    plan = work.plan
    metrics = resolve_metrics(plan.settings.metrics)
    asked = [metric.name for metric in metrics]
    terms = tables.term_table(work.streams[MODEL], plan.spec, plan.windows, metrics)
    files = {
        "metrics.csv": result.windows,
        "rollout_metrics.csv": result.scores,
        "trajectory_metrics.csv": result.trajectories,
    }
    chosen = {name: tables.select_metrics(table, asked) for name, table in files.items() if table is not None}
    if result.coverage is not None and "coverage_error" in asked:
        chosen["coverage.csv"] = result.coverage
    if result.ranks is not None and "rank_error" in asked:
        chosen["rank_histogram.csv"] = result.ranks
    if result.winkler is not None:
        chosen["winkler.csv"] = result.winkler
    if result.calibration is not None:
        chosen |= {"calibration.csv": result.calibration.fitted, "intervals.csv": result.calibration.intervals}
    if not terms.empty:
        chosen["trajectory_terms.csv"] = terms
    if result.latents is not None:
        chosen["latents.csv"] = result.latents.table
    for name, table in chosen.items():
        write_one(table, out_dir / name, work.on_event)
    _record(result, plan, out_dir, n_parameters)


def write_one(table: pd.DataFrame, file: Path, on_event: OnEvent) -> None:
    """A table, whole or not at all; `on_event` is told of "table_written"."""
    write_table(table, file)
    on_event("table_written", {"file": str(file)})


def _record(result: EvaluationResult, plan: Plan, out_dir: Path, n_parameters: int | None) -> None:
    """What programs need to know of the tables; written when they are."""
    known = result.provenance
    record = Record(
        data=known["data"],
        rollout=known["rollout"],
        timing=known["timing"],
        deterministic=result.deterministic,
        reconstructs=result.reconstructs,
        n_parameters=n_parameters,
        lengths=tuple(plan.lengths),
        windows=plan.windows,
        metrics=metric_facts(resolve_metrics(plan.settings.metrics)),
    )
    write_record(out_dir, record)


def _provenance(work: Work, datamodule: EvaluationData) -> dict[str, Any]:
    plan = work.plan
    train = datamodule.split("train") if plan.settings.baselines else None
    return {
        "data": {
            "name": plan.spec.dataset_name,
            "split": "test",
            "digest": datamodule.digest,
            "n_trajectories": plan.n_trajectories,
        },
        "rollout": {
            "mode": plan.settings.rollout or "the model's own",
            "seed": plan.settings.seed,
            "n_members": plan.n_members,
            "n_steps": plan.n_steps,
            "n_steps_input": plan.test.n_steps_input,
            "stride": plan.test.stride,
        },
        "baselines": {"fitted_to_trajectories": 0 if train is None else len(fitted_trajectories(train))},
        "timing": work.timing,
    }
