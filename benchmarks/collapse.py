"""A variational autoencoder that was made to collapse, and the same one after `--preset resume_fix`.

    python benchmarks/collapse.py           # about ten minutes on two cores
    python benchmarks/collapse.py --quick   # a minute: that it runs; nothing is written

Gray-Scott fields (64 x 64, two channels). The first training averages its reconstruction error over the numbers of a
frame and sums its KL divergence with a weight of 5, an ELBO's beta of 40,960: the best that it can do is to ignore the
data. The second starts from its weights, as `autocast why` advises, for 500 steps. Both are evaluated on trajectories
that neither was trained on. Fine structure is the energy of a reconstruction at waves shorter than 4 points over the
truth's; an active unit is a channel of the latents whose mean varies from frame to frame.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

RESULT = Path(__file__).parent / "results" / "collapse.json"
MODEL = (
    "model.encoder=dc_f8 model.encoder.widths=[24,48,96] model.encoder.blocks=[0,1,2] model.encoder.latent_channels=16 "
    "model.encoder.saturation=null model.bottleneck=gaussian model.objective=vae datamodule.batch_size=16"
)
COLLAPSE = (
    "model.objective.reduction=mean model.objective.weights.kl=5.0 optimizer.learning_rate=2e-3 trainer.max_epochs=-1"
)
CURE = "--preset resume_fix --init-from collapsed datamodule.batch_size=16 trainer.max_epochs=-1"
N_STEPS = {"collapsed": 1000, "cured": 500}
LEAST_UNITS = 8


def run(directory: Path, words: str) -> dict[str, str]:
    program = str(Path(sys.executable).with_name("autocast"))
    done = subprocess.run([program, *shlex.split(words)], check=False, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"autocast {words}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"command": f"autocast {words}"}


def measure(directory: Path, name: str) -> dict[str, Any]:
    """Of the epoch that was best, and of the evaluation."""
    epochs = [json.loads(line) for line in (directory / name / "ae/metrics.jsonl").read_text().splitlines()]
    best = [epoch for epoch in epochs if epoch["is_best"]][-1]
    table = pd.read_csv(directory / name / "eval/metrics.csv")
    table = table[(table.model == "model") & (table.channel == "all")] if "model" in table else table
    scores = dict(zip(table.metric, table["value"], strict=True))
    return {
        "active_units": best["val/active_units"],
        "mse": round(scores["mse"], 6),
        "vrmse": round(scores["vrmse"], 4),
        "high_frequency_ratio": round(scores["high_frequency_ratio"], 5),
        "steps": epochs[-1]["step"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps; nothing is written")
    quick = parser.parse_args().quick
    steps = {name: 8 if quick else n for name, n in N_STEPS.items()}
    n = {"train": 4, "valid": 2, "test": 2} if quick else {"train": 40, "valid": 4, "test": 8}
    splits = " ".join(f"splits.{split}={count}" for split, count in n.items())
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        run(directory, f"data simulate --dataset gray_scott {splits} simulator.n_frames=24")
        commands = [
            f"ae --dataset gray_scott --workdir collapsed {MODEL} {COLLAPSE} trainer.max_steps={steps['collapsed']}",
            f"ae --dataset gray_scott --workdir cured {CURE} trainer.max_steps={steps['cured']}",
        ]
        found = {}
        for name, command in zip(N_STEPS, commands, strict=True):
            told = run(directory, command)
            run(directory, f"eval --workdir {name} eval.video=false eval.metrics=[mse,vrmse,high_frequency_ratio]")
            found[name] = {**measure(directory, name), **told}
            print(json.dumps({name: found[name]}), flush=True)
    before, after = found["collapsed"], found["cured"]
    result = {
        "claim": f"after a collapse without active units, at least {LEAST_UNITS} of them, half the reconstruction "
        "error and more fine structure within 500 steps",
        "holds": before["active_units"] == 0
        and after["active_units"] >= LEAST_UNITS
        and after["mse"] <= 0.5 * before["mse"]
        and after["high_frequency_ratio"] > before["high_frequency_ratio"],
        **found,
        "run": {
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "lightning", "numpy")},
        },
    }
    print(json.dumps(result, indent=2))
    if not quick:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
