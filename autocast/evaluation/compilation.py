"""Whether the forecasts of an evaluation are compiled, and how."""

from __future__ import annotations

import torch

from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.plan import Plan
from autocast.evaluation.settings import AUTO
from autocast.nn.compilation import check_compiler, has_compiler

N_CALLS = 10_000
"""Network calls from which on compilation pays by itself: they take minutes, of which CUDA graphs save about half where
kernels are short, and compilation takes one or two. A guess on the safe side."""


def compile_where_it_pays(model: Forecasts, plan: Plan, device: torch.device) -> bool:
    """Compiles the forecasts of a model if the settings ask for it, or leave it open and it pays.

    Returns:
        Whether they are compiled.

    Raises:
        ConfigError: They are asked to be, and there is no compiler.
    """
    wanted = plan.settings.compile
    if wanted == AUTO:
        wanted = device.type == "cuda" and count_calls(model, plan) >= N_CALLS and has_compiler(device)
    elif wanted:
        check_compiler(device, "eval.compile=true")
    if wanted:
        model.compile_forecasts("reduce-overhead" if device.type == "cuda" else "default")
    return bool(wanted)


def count_calls(model: Forecasts, plan: Plan) -> int:
    """Network calls of all rollouts, about."""
    n_windows = sum(plan.lengths) / plan.batch_size / model.n_steps_output
    n_groups = -(-plan.batch_size * plan.n_members // plan.max_rows)
    return round(n_windows * n_groups * model.n_solver_steps)
