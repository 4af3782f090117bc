"""A latent emulator of Gray-Scott patterns in four short commands, and the same backbone on the fields beside it.

    python benchmarks/latent_chain.py [--quick]

Six and a half minutes on two idle cores. The data (64 x 64) are simulated first. Then `ae`, `cache-latents`,
`processor` and `eval`, each given the run before it and no architecture; last, two epochs of the same processor in
field space, for its seconds per epoch. An epoch's seconds are the shortest of those that training told of: the first
one warms up. Scores are those of the evaluation's tables: VRMSE of one forecast over the test trajectories.
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
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

RESULT = Path(__file__).parent / "results" / "latent_chain.json"
LEADS = (4, 8)
BACKBONE = "processor@model.processor=direct"
TRAINING = "datamodule.batch_size=32 optimizer.learning_rate=3e-3 callbacks.ema.decay=0.99"
AUTOENCODER = (
    "datamodule.batch_size=16 model.bottleneck.noise=0.05 optimizer.learning_rate=3e-3 callbacks.ema.decay=0.98"
)
SIZES = {"splits": "splits.train=40 splits.valid=5 splits.test=20 simulator.n_frames=41", "ae": 8, "processor": 16}
QUICK = {"splits": "splits.train=4 splits.valid=2 splits.test=2 simulator.n_frames=13", "ae": 1, "processor": 2}
N_FIELD_EPOCHS = 2


class Chain:
    """Runs commands in one directory, and keeps what was typed and how long it took."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.commands: list[dict[str, Any]] = []

    def run(self, words: str) -> None:
        start = time.perf_counter()
        program = str(Path(sys.executable).with_name("autocast"))
        status = subprocess.run(
            [program, *shlex.split(words)], check=False, cwd=self.directory, stdout=subprocess.DEVNULL
        ).returncode
        if status:
            raise SystemExit(f"autocast {words}: ended with status {status}")
        self.commands.append({"command": f"autocast {words}", "seconds": round(time.perf_counter() - start, 1)})
        print(json.dumps(self.commands[-1]), flush=True)

    def seconds_per_epoch(self, run: str, kind: str) -> float:
        lines = (self.directory / run / kind / "metrics.jsonl").read_text().splitlines()
        return min(json.loads(line)["seconds"] for line in lines)


def scores(directory: Path) -> dict[str, Any]:
    """The floor, and the forecast's VRMSE over persistence's."""
    table = pd.read_csv(directory / "eval" / "rollout_metrics.csv")
    table = table[(table.metric == "vrmse") & (table.channel == "all") & (table.kind == "member")]
    by_model = {name: rows.set_index("lead_time")["value"] for name, rows in table.groupby("model")}
    model, persistence = by_model["model"], by_model["persistence"]
    return {
        "floor": round(float(by_model["reconstruction"].mean()), 4),
        "vrmse": {lead: round(float(model[lead]), 4) for lead in LEADS},
        "over_persistence": {lead: round(float(model[lead] / persistence[lead]), 3) for lead in LEADS},
    }


def run_chain(directory: Path, sizes: dict[str, Any]) -> dict[str, Any]:
    chain = Chain(directory)
    chain.run(f"data simulate --dataset gray_scott {sizes['splits']}")
    chain.run(f"ae --dataset gray_scott --workdir ae {AUTOENCODER} trainer.max_epochs={sizes['ae']}")
    chain.run("cache-latents --autoencoder ae")
    epochs = f"trainer.max_epochs={sizes['processor']}"
    chain.run(f"processor --autoencoder ae --workdir latent {BACKBONE} {TRAINING} {epochs}")
    chain.run("eval --workdir latent eval.video=false")
    chain.run(f"epd --dataset gray_scott --workdir field {BACKBONE} {TRAINING} trainer.max_epochs={N_FIELD_EPOCHS}")
    latent, field = chain.seconds_per_epoch("latent", "processor"), chain.seconds_per_epoch("field", "epd")
    return {
        **scores(directory / "latent"),
        "seconds_per_epoch": {"latent": round(latent, 2), "field": round(field, 2)},
        "times_faster": round(field / latent, 1),
        "commands": chain.commands,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="sizes that show that it runs; nothing is written")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = run_chain(Path(folder), QUICK if quick else SIZES)
    worst = max(found["over_persistence"].values())
    result = {
        "claim": "floor at most .05, VRMSE at leads 4 and 8 at most .5 of persistence's, epochs 3 times faster",
        "holds": found["floor"] <= 0.05 and worst <= 0.5 and found["times_faster"] >= 3,
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
