"""Rolls a model and its baselines out over the test split, once and seeded, and measures everything on the way."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch

from autocast.evaluation.calibration import (
    VALID,
    Fitted,
    check_method,
    check_validation,
    fit,
    fitting_settings,
)
from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.parts import Parts
from autocast.evaluation.plan import EvaluationData, Plan, make_plan
from autocast.evaluation.products import result_of, write_one, write_result
from autocast.evaluation.result import MODEL, EvaluationResult, Stress
from autocast.evaluation.rollout_file import ROLLOUTS_FILE, RolloutRecorder, recorded_rollouts
from autocast.evaluation.rollout_modes import in_rollout_mode
from autocast.evaluation.settings import EvaluationSettings
from autocast.evaluation.sharing import Sharing, share_out
from autocast.evaluation.stress import check_stress, stress_test
from autocast.evaluation.work import OnEvent, OnExample, Work
from autocast.simulators.simulator import Simulator
from autocast.version import __version__

PARTS_DIR = ".parts"
_KINDS = {"test": "", VALID: "validation "}
FITTING_DIR = "calibration"
"""Of the parts of the validation split, inside that of the others."""


def _ignore(name: str, values: dict[str, Any]) -> None:
    pass


@torch.no_grad()
def evaluate(  # noqa: PLR0913
    model: Forecasts,
    datamodule: EvaluationData,
    settings: EvaluationSettings,
    out_dir: Path,
    on_event: OnEvent = _ignore,
    *,
    device: str | torch.device = "cpu",
    identity: Mapping[str, Any] | None = None,
    sharing: Sharing | None = None,
    simulators: Mapping[str, Simulator] | None = None,
    on_example: OnExample | None = None,
) -> EvaluationResult:
    """Scores a model on every trajectory of the test split, and writes the tables into `out_dir`.

    Each trajectory is rolled out once, from its first frames; scores, spectra, coverage, examples and kept rollouts are
    of that one ensemble. Draws depend on the seed, the trajectory and the member only.

    Args:
        model: In evaluation mode, on `device`.
        datamodule: Its test split is scored, its training split gives the baselines.
        settings: What is measured.
        out_dir: Gets `metrics.csv`, `rollout_metrics.csv`, `trajectory_metrics.csv`, of an ensemble
            `trajectory_terms.csv`, `coverage.csv`, `rank_histogram.csv` and `winkler.csv`, as far as they are asked
            for, and `rollouts.hdf5` and `stress.csv` likewise; of a calibration `calibration.csv` and `intervals.csv`;
            of an autoencoder alone, `latents.csv`; then `evaluation.json`.
        on_event: Told of "evaluation_started", "progress" (steps done and in all), "scored" (trajectories that are kept
            in parts), "note" and "table_written".
        device: Of the model.
        identity: Plain values that tell the model from others: its weights and settings. With it `out_dir` keeps parts
            of what is done, with which another call goes on, until `forget_parts`.
        sharing: Devices that take a share of the trajectories, each in a process of its own; wants `identity`.
        simulators: Of the data, on the grids of those baselines of the settings that are one, by their names.
        on_example: Told of every example (and what its fields are) as soon as it is complete, or read from a part.

    Raises:
        ConfigError: Forecasts are to be compiled, and there is no compiler; or the model cannot be calibrated so.
        DataError: If there is no trajectory to score, or too few to fit a calibration to.
    """
    device = torch.device(device)
    check_method(model, settings.calibrate)
    out_dir.mkdir(parents=True, exist_ok=True)
    n_parameters = sum(p.numel() for p in model.parameters()) if isinstance(model, torch.nn.Module) else None
    check_stress(model, settings)
    model, datamodule, settings = in_rollout_mode(model, datamodule, settings)
    if settings.calibrate:
        check_validation(model, datamodule, settings)
    plan = make_plan(model, datamodule, settings, device)

    for text in plan.notes:
        on_event("note", {"text": text})
    on_event("evaluation_started", plan.sizes)
    known = _identity(plan, datamodule, identity, device) if identity else None
    parts = Parts(out_dir / PARTS_DIR, known) if known else None
    fitted = None
    if settings.calibrate:
        fitted = _fit(model, datamodule, plan, device, on_event, out_dir, identity, sharing)
        on_event = _counted(on_event, n_before=int(fitted.n_trajectories.max()), n_after=0)
    work = Work(model, datamodule, plan, device, on_event, simulators or {}, on_example, fitted)
    with ExitStack() as stack:
        if settings.save_rollouts:
            work.watch("rollouts", stack.enter_context(_recorder(plan, out_dir, parts)))
        _do(work, parts, sharing)
    result = result_of(work, model, datamodule)
    write_result(result, work, out_dir, n_parameters)
    if settings.stress:
        result = dataclasses.replace(result, stress=_stress(work, settings.stress, out_dir, known))
    return result


def _fit(
    model: Forecasts,
    datamodule: EvaluationData,
    plan: Plan,
    device: torch.device,
    on_event: OnEvent,
    out_dir: Path,
    identity: Mapping[str, Any] | None,
    sharing: Sharing | None,
) -> Fitted:
    """A calibration from a rollout of the validation split as the plan's of the test split."""
    fitting = make_plan(model, datamodule, fitting_settings(plan), device, VALID)
    text = f"eval.calibrate={plan.settings.calibrate}: first {fitting.n_trajectories} validation trajectories"
    on_event("note", {"text": text})
    work = Work(model, datamodule, fitting, device, _counted(on_event, n_before=0, n_after=plan.n_rollouts), {})
    place = out_dir / PARTS_DIR / FITTING_DIR
    _do(work, Parts(place, _identity(fitting, datamodule, identity, device)) if identity else None, sharing)
    fitted = fit(work.histograms, work.streams[MODEL])
    for text in fitted.notes:
        on_event("note", {"text": text})
    return fitted


def _counted(on_event: OnEvent, *, n_before: int, n_after: int) -> OnEvent:
    """Counts the trajectories of another split with those that are scored."""

    def listen(event: str, values: dict[str, Any]) -> None:
        if event == "scored":
            n = values["n_trajectories"] + n_before + n_after
            values = {**values, "step": values["step"] + n_before, "n_trajectories": n}
        on_event(event, values)

    return listen


def _do(work: Work, parts: Parts | None, sharing: Sharing | None) -> None:
    """What is not in a part yet."""
    plan = work.plan
    done = parts.restore(work.kept) if parts else []
    if done:
        work.on_event(
            "note", {"text": f"goes on after {len(done)} of {plan.n_trajectories} {_KINDS[plan.split]}trajectories"}
        )
        work.scored(len(done))
    work.progress(sum(plan.lengths[i] for i in done) * len(work.forecasters))
    groups = plan.test.groups(plan.batch_size, without=set(done))
    if parts is not None and sharing is not None and not plan.settings.save_rollouts:
        share_out(work, groups, parts, sharing)
        return
    if sharing is not None:
        text = f"eval.devices={plan.settings.devices}: kept rollouts are written by one process, so one device is used"
        work.on_event("note", {"text": text})
    work.roll_out(groups, parts)


def _stress(work: Work, n_steps: int, out_dir: Path, known: Mapping[str, Any] | None) -> Stress:
    parts = Parts(out_dir / PARTS_DIR / "stress", {**known, "stress": n_steps}) if known else None
    stress = stress_test(work, n_steps, parts)
    write_one(stress.table, out_dir / "stress.csv", work.on_event)
    return stress


def forget_parts(out_dir: Path) -> None:
    """Removes what would let an evaluation go on that has all its files."""
    shutil.rmtree(out_dir / PARTS_DIR, ignore_errors=True)


def _identity(plan: Plan, datamodule: EvaluationData, model: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """All that scores depend on; how the work is cut into batches and calls is not among it."""
    free = ("name", "batch_size", "max_rows", "memory_limit", "devices", "video", "fps", "stress")
    settings = {key: value for key, value in dataclasses.asdict(plan.settings).items() if key not in free}
    return {
        "model": model,
        "data": datamodule.digest,
        "lengths": plan.lengths,
        "n_steps_input": plan.test.n_steps_input,
        "stride": plan.test.stride,
        "split": plan.split,
        "settings": settings,
        "examples": plan.examples,
        "versions": [__version__, str(torch.__version__), device.type],
    }


def _recorder(plan: Plan, out_dir: Path, parts: Parts | None) -> AbstractContextManager[RolloutRecorder]:
    """It goes on with a file of these parts, even one that was complete; no other one is looked at."""
    file, unfinished = out_dir / ROLLOUTS_FILE, (parts.directory if parts else out_dir) / f".{ROLLOUTS_FILE}"
    if parts is None or parts.is_empty:
        unfinished.unlink(missing_ok=True)
    elif not unfinished.is_file() and file.is_file():
        file.replace(unfinished)
    elif not unfinished.is_file():
        parts.forget()
    return recorded_rollouts(
        file,
        plan.spec,
        lengths=plan.lengths,
        n_members=plan.n_members,
        n_steps_input=plan.test.n_steps_input,
        unfinished=unfinished,
    )
