"""Whether the forecasts of an evaluation are compiled, and how."""

from __future__ import annotations

from collections.abc import Callable

import torch

from autocast.evaluation.forecasters import Forecasts, ModelForecaster
from autocast.evaluation.plan import Plan
from autocast.evaluation.settings import AUTO
from autocast.nn.compilation import check_compiler, has_compiler

N_CALLS = 10_000
"""Network calls from which on compilation pays by itself: they take minutes, of which CUDA graphs save about half where
kernels are short, and compilation takes one or two. A guess on the safe side."""


def compile_where_it_pays(forecaster: ModelForecaster, plan: Plan, note: Callable[[str], None]) -> None:
    """Compiles the forecasts of a model if the settings ask for it, or leave it open and it pays.

    Where they leave it open, a window is tried first: if that fails, forecasts stay as they are, and `note` is told.

    Raises:
        ConfigError: They are asked to be, and there is no compiler.
    """
    model, device, wanted = forecaster.model, forecaster.device, plan.settings.compile
    mode = _mode(device)
    if wanted == AUTO:
        pays = device.type == "cuda" and count_calls(model, plan) >= N_CALLS and has_compiler(device)
        forecaster.compiled = pays and _works(forecaster, plan, mode, note)
    elif wanted:
        check_compiler(device, "eval.compile=true")
        model.compile_forecasts(mode)
        forecaster.compiled = True


def compile_anyway(
    model: Forecasts, device: torch.device, wanted: bool | str, attempt: Callable[[], None], note: Callable[[str], None]
) -> bool:
    """Compiles the forecasts of a model if that is wanted, or left open and the device a GPU, whatever it costs.

    Args:
        model: On `device`.
        device: Where it computes.
        wanted: Whether to; "auto" falls back, and tells `note`.
        attempt: A forecast.
        note: Told why not.

    Returns:
        Whether forecasts are compiled.

    Raises:
        ConfigError: It is wanted, and there is no compiler.
    """
    if wanted == AUTO:
        return device.type == "cuda" and has_compiler(device) and _compiles(model, _mode(device), attempt, note)
    if wanted:
        check_compiler(device, "--compile true")
        model.compile_forecasts(_mode(device))
        attempt()
    return bool(wanted)


def _mode(device: torch.device) -> str:
    return "reduce-overhead" if device.type == "cuda" else "default"


def _works(forecaster: ModelForecaster, plan: Plan, mode: str, note: Callable[[str], None]) -> bool:
    """Tries batches of both sizes; the time that this takes is the forecaster's."""

    def attempt() -> None:
        for n_rows in {plan.batch_size, plan.n_trajectories % plan.batch_size or plan.batch_size}:
            next(forecaster(plan.test.opening(n_rows, forecaster.model.n_steps_output)))

    works = _compiles(forecaster.model, mode, attempt, lambda why: note(f"{why}; eval.compile=false does not try"))
    if not works:
        forecaster.stopwatch.forget()
    return works


def _compiles(model: Forecasts, mode: str, attempt: Callable[[], None], note: Callable[[str], None]) -> bool:
    model.compile_forecasts(mode)
    try:
        attempt()
    except Exception as error:  # whatever a compiler fails with
        model.compile_forecasts(None)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        note(f"forecasts are not compiled ({reason})")
        return False
    return True


def count_calls(model: Forecasts, plan: Plan) -> int:
    """Network calls of all rollouts, about."""
    n_windows = sum(plan.lengths) / plan.batch_size / model.n_steps_output
    n_groups = -(-plan.batch_size * plan.n_members // plan.max_rows)
    return round(n_windows * n_groups * model.n_solver_steps)
