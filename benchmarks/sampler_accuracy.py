"""How good a forecast is for its number of network calls: every sampler, one flow-matching and one diffusion model.

    python benchmarks/sampler_accuracy.py           # about ten minutes on two idle cores
    python benchmarks/sampler_accuracy.py --quick   # seconds: the same steps, nothing is learned

Both models have the size of the demo's and work on the latents of its autoencoder. Trained once, they forecast the same
test trajectories with the same noise by every sampler at 1 to 32 network calls per step; the diffusion model at the
levels of noise of other schedules as well, up to 16 calls. Scores are the fair CRPS in physical units, at lead 1 and
over leads 1 to 8.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import autocast
from autocast.data.splits import open_split
from autocast.emulators import EncoderProcessorDecoder
from autocast.generative.samplers import DDIM, AdamsBashforth2, AdamsBashforth3, Euler, Heun, Sampler
from autocast.generative.schedules import Cosine, Edm, LogLogit, Schedule, VariancePreserving
from autocast.metrics.probabilistic import crps_fair

RESULT = Path(__file__).parent / "results" / "sampler_accuracy.json"
CALLS = (1, 2, 4, 8, 16, 32)
N_LEADS = 8
AGREEMENT = 0.03
OWN = "own schedule"
MODELS = ("flow_matching", "diffusion")
SCHEDULES: dict[str, Schedule] = {
    "edm from 80": Edm(sigma_max=80.0),
    "vp": VariancePreserving(),
    "cosine": Cosine(),
    "rectified": LogLogit(),
}
"""Beside the diffusion model's own."""
ELSEWHERE = ("euler", "heun", "adams_bashforth2")
"""Samplers that are tried with the schedules that are not the model's own."""
SAMPLERS: dict[str, tuple[Callable[[int], Sampler], Callable[[int], int]]] = {
    "euler": (Euler, lambda calls: calls),
    "heun": (Heun, lambda calls: calls // 2 if calls % 2 == 0 else 0),
    "ddim": (DDIM, lambda calls: calls),
    "ddim, eta 1": (lambda n: DDIM(n, eta=1.0), lambda calls: calls),
    "adams_bashforth2": (AdamsBashforth2, lambda calls: calls - 1),
    "adams_bashforth3": (AdamsBashforth3, lambda calls: max(calls - 2, 0)),
}
"""Each with the number of steps that makes a number of calls; 0 where none does."""
QUICK = {
    "data": ("simulator.grid_shape=[16,16]", "simulator.n_frames=12", "splits={train:4,valid:2,test:2}"),
    "ae": ("trainer.max_epochs=1",),
    "epd": ("trainer.max_epochs=1", "model.processor.backbone.blocks=1"),
}


@dataclass(frozen=True)
class Windows:
    """Test windows: where forecasts start, and what came of it."""

    initial: Tensor
    """`(B, Ti, *S, C)`"""
    truth: Tensor
    """`(B, T, *S, C)`"""


def train(directory: Path, seed: int, *, quick: bool) -> dict[str, float]:
    """Data, an autoencoder, and a run for each model in directories of their own; returns the seconds of each."""
    less = QUICK if quick else {}
    data, autoencoder = str(directory / "data" / "reaction_diffusion"), str(directory / "ae")
    common = ("--dataset", data, f"seed={seed}")
    commands = {
        "data": ("data", "simulate", "--dataset", data, "--preset", "demo_data", f"seed={seed}"),
        "ae": ("ae", "--preset", "demo_autoencoder", "--workdir", autoencoder, *common),
    }
    for model in MODELS:
        choice = ("--preset", "demo_emulator", f"model.processor={model}", "--workdir", str(directory / model))
        commands[model] = ("epd", *choice, "--autoencoder", autoencoder, *common)
    seconds = {}
    for name, words in commands.items():
        start = time.perf_counter()
        more = less.get("epd" if name in MODELS else name, ())
        subprocess.run(
            [str(Path(sys.executable).with_name("autocast")), *words, *more], check=True, stdout=subprocess.DEVNULL
        )
        seconds[name] = round(time.perf_counter() - start, 1)
    return seconds


def test_windows(data: Path, n_leads: int) -> Windows:
    """The first of every test trajectory."""
    split = open_split(data, "test")
    frames = torch.stack([torch.from_numpy(split.read(i, 0, 1 + n_leads)) for i in range(split.n_trajectories)])
    return Windows(frames[:, :1], frames[:, 1:])


def settings(model: str, calls: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Names and numbers of all settings of a model."""
    for schedule in (OWN, *SCHEDULES) if model == "diffusion" else (OWN,):
        for name, (_, n_steps_of) in SAMPLERS.items():
            for n_calls in calls:
                if (n_steps := n_steps_of(n_calls)) and (schedule == OWN or (name in ELSEWHERE and n_calls <= 16)):
                    yield {"schedule": schedule, "sampler": name, "n_steps": n_steps, "n_calls": n_calls}


def score(emulator: EncoderProcessorDecoder, windows: Windows, n_members: int) -> dict[str, Any]:
    """CRPS of one setting, and the network calls that each step took."""
    counted: list[int] = []
    hook = emulator.processor.backbone.register_forward_hook(lambda *_: counted.append(1))  # type: ignore[union-attr]
    n_leads = windows.truth.shape[1]
    start = time.perf_counter()
    forecast = emulator.rollout(windows.initial, n_leads, n_members=n_members, seed=0)
    seconds = time.perf_counter() - start
    hook.remove()
    by_lead = crps_fair(windows.truth, forecast, emulator.spec.n_spatial_dims).mean(dim=(0, 2))
    return {
        "calls_per_step": len(counted) / n_leads,
        "crps_lead_1": round(float(by_lead[0]), 5),
        "crps": round(float(by_lead.mean()), 5),
        "seconds_per_step": round(seconds / n_leads, 4),
    }


def measure(run: Path, windows: Windows, calls: Sequence[int], n_members: int) -> list[dict[str, Any]]:
    """All settings of one model."""
    emulator = autocast.load(str(run))
    rows = []
    for setting in settings(run.name, calls):
        emulator.processor.sampler = SAMPLERS[setting["sampler"]][0](setting["n_steps"])
        if setting["schedule"] in SCHEDULES:
            emulator.processor.schedule = SCHEDULES[setting["schedule"]]
        rows.append({**setting, **score(emulator, windows, n_members)})
        print(json.dumps({"model": run.name, **rows[-1]}), flush=True)
    return rows


def converged(rows: list[dict[str, Any]]) -> list[float]:
    """Scores of samplers without fresh noise at most calls, which are those with the model's own schedule."""
    most = max(row["n_calls"] for row in rows)
    last = [row for row in rows if row["n_calls"] == most and row["schedule"] == OWN]
    return [row["crps"] for row in last if "eta" not in row["sampler"]]


def holds(models: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether calls are as documented, and samplers agree where steps are small."""
    rows = [row for rows in models.values() for row in rows]
    agree = all(max(converged(found)) <= (1 + AGREEMENT) * min(converged(found)) for found in models.values())
    return agree and all(row["calls_per_step"] == row["n_calls"] for row in rows)


def draw(models: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """CRPS against network calls, a panel for each model and schedule."""
    panels = [(model, s) for model in models for s in dict.fromkeys(row["schedule"] for row in models[model])]
    figure = Figure(figsize=(2.9 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (model, schedule) in zip(axes, panels, strict=True):
        for number, name in enumerate(SAMPLERS):
            rows = [row for row in models[model] if row["schedule"] == schedule and row["sampler"] == name]
            x, y = [row["n_calls"] for row in rows], [row["crps"] for row in rows]
            axis.plot(x, y, "--" if name == "ddim" else "-", color=f"C{number}", marker="o", ms=3, label=name)
        axis.set(xscale="log", title=f"{model}, {schedule}", xlabel="network calls per step")
        axis.set_xticks(CALLS, [str(n) for n in CALLS])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("CRPS, mean over leads")
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="train and sample next to nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workdir", type=Path, help="keep the runs here, and use those that are there")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    calls, n_members = ((2, 4), 2) if arguments.quick else (CALLS, 8)
    with tempfile.TemporaryDirectory() as folder:
        directory = arguments.workdir or Path(folder)
        seconds = {} if (directory / MODELS[-1]).exists() else train(directory, arguments.seed, quick=arguments.quick)
        windows = test_windows(directory / "data" / "reaction_diffusion", N_LEADS)
        models = {model: measure(directory / model, windows, calls, n_members) for model in MODELS}
    result = {
        "claim": f"network calls are as documented; without fresh noise, samplers agree within {AGREEMENT:.0%} at "
        f"{max(calls)} calls",
        "holds": holds(models),
        "n_windows": len(windows.truth),
        "n_members": n_members,
        "n_leads": windows.truth.shape[1],
        "training_seconds": seconds,
        "models": models,
        "run": {
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "n_threads": torch.get_num_threads(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "lightning", "numpy")},
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    draw(models, arguments.out.with_suffix(".png"))
    print(f"{arguments.out}: {'holds' if result['holds'] else 'does not hold'}")


if __name__ == "__main__":
    main()
