"""Post-hoc calibration on an emulator: does a calibrated interval hold as much of the truth as it says?

    python benchmarks/calibration.py [--quick] [--workdir DIR]

About ten minutes on two cores. The Kuramoto-Sivashinsky equation on 64 points, 64 validation and 64 test trajectories
of 24 steps; an ensemble model of 8 members is trained for a few minutes and evaluated with each method. Counted is at
how many lead times the level of an interval lies in the 95 % interval of its coverage, over test trajectories and, of a
conformal one, over those of the validation split that it was fitted to. It covers between its level p and
p (n + 1) / n of n validation trajectories, so the count is made of that range as well. A training that was there is
not counted in `seconds`; `n_epochs_trained` says how far it came.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parent / "results"
NAME = "kuramoto_sivashinsky"
N_MEMBERS = 8
SHOWN_LEADS = (1, 4, 8, 16, 24)


def autocast(directory: Path, *words: str) -> None:
    command = [sys.executable, "-m", "autocast", *words]
    environment = {**os.environ, "AUTOCAST_DATASETS": str(directory / "datasets")}
    subprocess.run(command, cwd=directory, env=environment, check=True)


def prepare(directory: Path, quick: bool) -> None:
    """The data and the trained model."""
    n, n_train, epochs = (8, 8, 1) if quick else (64, 64, 25)
    splits = [f"splits.train={n_train}", f"splits.valid={n}", f"splits.test={n}"]
    simulator = ["grid_shape=[64]", "extent=[22.0]", "n_frames=25", "n_substeps=10", "time_step=1.0"]
    autocast(
        directory, "data", "simulate", "--dataset", NAME, "batch_size=64", *splits,
        *(f"simulator.{setting}" for setting in simulator),
    )  # fmt: skip
    autocast(
        directory, "epd", "--dataset", NAME, "--workdir", "run", "--overwrite",
        "model.processor=ensemble", "model.processor.n_members_train=4", "model.processor.backbone.width=16",
        "datamodule.n_steps_input=1", "datamodule.n_steps_output=1", "datamodule.batch_size=32",
        "optimizer.learning_rate=3e-3", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu",
    )  # fmt: skip


def evaluate(directory: Path, method: str) -> Path:
    """The directory with the tables."""
    autocast(
        directory, "eval", "--workdir", "run", f"eval.name={method}", f"eval.calibrate={method}", "--overwrite",
        f"eval.n_members={N_MEMBERS}", "eval.video=false", "eval.baselines=[]", "trainer.accelerator=cpu",
    )  # fmt: skip
    return directory / "run" / f"eval-{method}"


def counts(intervals: pd.DataFrame, model: str, n: int) -> dict[str, Any]:
    """How many levels at how many leads lie where they should."""
    rows = intervals[(intervals.model == model) & (intervals.channel == "all")]
    tail = rows.level * (n + 1) / n if model == "calibrated" else rows.level
    return {
        "n": len(rows),
        "level_inside": int(((rows.low <= rows.level) & (rows.level <= rows.high)).sum()),
        "range_inside": int(((rows.low <= tail) & (rows.level <= rows.high)).sum()),
        "largest_distance": round(float((rows.coverage - rows.level).abs().max()), 4),
        "mean_distance": round(float((rows.coverage - rows.level).mean()), 4),
    }


def summary(directory: Path, method: str) -> dict[str, Any]:
    out = evaluate(directory, method)
    intervals, fitted = pd.read_csv(out / "intervals.csv"), pd.read_csv(out / "calibration.csv")
    scores = pd.read_csv(out / "rollout_metrics.csv")
    ssr = scores[(scores.metric == "ssr") & (scores.channel == "all")]
    n = int(fitted.n_trajectories.max())
    return {
        "n_validation_trajectories": n,
        "leads": {model: counts(intervals, model, n) for model in ("model", "calibrated")},
        "ssr": {
            str(model): [round(float(v), 3) for v in (g.value.min(), g.value.max())]
            for model, g in ssr.groupby("model")
        },
        "intervals": table(intervals),
    }


def table(intervals: pd.DataFrame) -> list[dict[str, Any]]:
    """The level nearest to .8 at some leads."""
    level = min(intervals.level.unique(), key=lambda level: abs(level - 0.8))
    rows = intervals[(intervals.level == level) & (intervals.channel == "all") & intervals.lead_time.isin(SHOWN_LEADS)]
    columns = ["model", "lead_time", "level", "coverage", "low", "high", "width", "interval_score"]
    return [{str(k): v for k, v in row.items()} for row in rows[columns].round(4).to_dict("records")]


def text(result: dict[str, Any]) -> str:
    """Of the tables, in Markdown."""
    lines = []
    for method, found in result["methods"].items():
        lines += [f"**{method}**, {found['n_validation_trajectories']} validation trajectories; ssr {found['ssr']}", ""]
        lines += ["| | level inside the interval | largest distance | mean distance |", "|---|---|---|---|"]
        lines += [
            f"| {model} | {row['level_inside']} of {row['n']} | {row['largest_distance']} | {row['mean_distance']} |"
            for model, row in found["leads"].items()
        ]
        lines += ["", "| | lead | level | coverage | width | interval score |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {row['model']} | {row['lead_time']} | {row['level']:.3f} | {row['coverage']:.3f} "
            f"({row['low']:.3f}, {row['high']:.3f}) | {row['width']:.3g} | {row['interval_score']:.3g} |"
            for row in found["intervals"]
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it runs, and nothing else")
    parser.add_argument("--workdir", type=Path, help="keeps data and run; what is there is used")
    parser.add_argument("--out", type=Path, default=RESULTS / "calibration.json")
    asked = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        directory = asked.workdir or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "run" / "encoder_processor_decoder.ckpt").is_file():
            prepare(directory, asked.quick)
        methods = {method: summary(directory, method) for method in ("spread", "conformal")}
        lines = (directory / "run" / "epd" / "metrics.jsonl").read_text().splitlines()
    result = {
        "methods": methods,
        "n_epochs_trained": len(lines),
        "run": {
            "seconds": round(time.perf_counter() - start),
            "machine": platform.machine(),
            "n_cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
    }
    asked.out.write_text(json.dumps(result, indent=2) + "\n")
    asked.out.with_suffix(".md").write_text(text(result))


if __name__ == "__main__":
    main()
