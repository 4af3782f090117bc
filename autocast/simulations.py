"""Simulators of data sets that were simulated here, built again by what the manifest says.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autocast.errors import ConfigError
from autocast.evaluation.result import SIMULATORS
from autocast.runs.build import build

if TYPE_CHECKING:
    from autocast.evaluation.payoff import Simulation
    from autocast.simulators.simulator import Simulator


def find_simulation(manifest: Mapping[str, Any] | None) -> Simulation | str:
    """How the first test trajectory of a data set was simulated, by the manifest of the data set; else why that cannot
    be known."""
    if manifest is None:
        return "its data set was not simulated here: no manifest says how"
    from autocast.data.simulate import trajectory_seed
    from autocast.evaluation.payoff import Simulation

    plan = manifest["plan"]
    target = plan["simulator"]
    try:
        keywords = inspect.signature(build({"_target_": target, "_partial_": True})).parameters
        settings = {key: value for key, value in plan["settings"].items() if key in keywords}

        def make(n_frames: int) -> Simulator:
            return build({"_target_": target, **settings, "n_frames": n_frames, "burn_in": 0.0})

        make(1)
    except ConfigError as error:
        return f"{target} of its data set cannot be built as it was: {error}"
    return Simulation(make, trajectory_seed(plan["seed"], "test", 0))


def coarse_simulators(baselines: Iterable[str], manifest: Mapping[str, Any] | None) -> dict[str, Simulator]:
    """The simulator of a data set on the grids of those of these baselines that are one, by their names.

    Raises:
        ConfigError: The data set has none that is known, or one that cannot go on from a frame, or not on such a grid.
    """
    names = [name for name in baselines if name in SIMULATORS]
    if not names:
        return {}
    found = find_simulation(manifest)
    if isinstance(found, str):
        raise _refusal(names, found)
    from autocast.simulators.continuation import coarsened

    simulator = found.make(1)
    if not simulator.continues_from_frames:
        kind = type(simulator).__name__
        raise _refusal(names, f"{kind} of its data set does not go on from a frame (continues_from_frames)")
    try:
        return {name: coarsened(simulator, SIMULATORS[name]) for name in names}
    except ConfigError as error:
        raise _refusal(names, str(error)) from error


def _refusal(names: list[str], why: str) -> ConfigError:
    return ConfigError(f"eval.baselines={names}: {why}. Leave out what is not possible.")
