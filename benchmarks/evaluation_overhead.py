"""What an evaluation costs beside the model: the share of its time that is the model's, and the calls of the network.

    python benchmarks/evaluation_overhead.py [--quick]

Five minutes on two idle cores. 16 trajectories x 8 members x 50 steps of 64 x 64 points are rolled out and scored with
all default scores, without baselines, by U-Nets of two sizes that are called once for a window, which is where the
model's share is smallest. Timed is `evaluate`, from the plan to the tables; the model's time is what it says itself.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.datamodule import FieldDataModule
from autocast.data.simulate import simulate_dataset
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.plan import make_plan
from autocast.evaluation.settings import EvaluationSettings
from autocast.nn.unet import UNet
from autocast.processors.ensemble import Ensemble
from autocast.simulators.advection_diffusion import AdvectionDiffusion

RESULT = Path(__file__).parent / "results" / "evaluation_overhead.json"
SHARE = 0.8
N_MEMBERS = 8


def measure(datamodule: FieldDataModule, size: str) -> dict[str, Any]:
    torch.manual_seed(0)
    model = assemble_emulator(
        IdentityEncoder,
        IdentityBottleneck,
        functools.partial(Ensemble, backbone=functools.partial(UNet, size=size)),
        spec=datamodule.spec,
        normaliser=datamodule.normaliser,
        n_steps_input=1,
        n_steps_output=1,
    ).eval()
    settings = EvaluationSettings(n_members=N_MEMBERS, baselines=(), batch_indices=(), video=False)
    plan = make_plan(model, datamodule, settings, torch.device("cpu"))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    (backbone,) = (module for module in model.modules() if isinstance(module, UNet))
    with tempfile.TemporaryDirectory() as out:
        evaluate(model, datamodule, EvaluationSettings(n_steps=2, n_members=2, baselines=()), Path(out))  # warms up
        backbone.register_forward_hook(count)
        start = time.perf_counter()
        result = evaluate(model, datamodule, settings, Path(out))
        seconds = time.perf_counter() - start
    # what measures how much fits into a call is a forecast of a window too
    groups = plan.test.groups(plan.batch_size)
    chunks = [-(-len(group) * plan.n_members // plan.max_rows) for group in groups]
    wanted = sum(chunks) * plan.n_steps
    in_model = result.provenance["timing"]["seconds"]
    return {
        "seconds": round(seconds, 2),
        "seconds_in_model": round(in_model, 2),
        "share": round(in_model / seconds, 4),
        "calls": calls,
        "calls_of_the_rollout": wanted,
        "calls_to_measure_memory": calls - wanted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it runs, and nothing else")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    n_trajectories, n_steps, n_points = (2, 3, 16) if asked.quick else (16, 50, 64)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        simulator = AdvectionDiffusion(grid_shape=(n_points, n_points), n_frames=n_steps + 1)
        splits = {"train": 1, "valid": 1, "test": n_trajectories}
        simulate_dataset(simulator, Path(directory) / "data", splits=splits, seed=0)
        datamodule = FieldDataModule(Path(directory) / "data", batch_size=16)
        for size in ("xs",) if asked.quick else ("xs", "s"):
            rows[size] = measure(datamodule, size)
            print(size, rows[size], flush=True)
    result = {
        "claim": f"at least {SHARE:.0%} of the time is the model's",
        "holds": {name: row["share"] >= SHARE for name, row in rows.items()},
        "rows": rows,
        "run": {
            "n_threads": 2,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }
    asked.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
