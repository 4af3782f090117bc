"""What annealing, free bits and beta do to a small variational autoencoder: rate, distortion and active units.

    python benchmarks/annealing_grid.py           # about five minutes on two cores
    python benchmarks/annealing_grid.py --quick   # seconds: that it runs; nothing is written

The same convolutional autoencoder with 4 x 4 x 8 latent numbers is trained on reaction-diffusion fields (32 x 32)
for every combination of annealing, free bits and beta, from the same weights, with the same batches and noise. Beta is
that of an ELBO: sums over a frame. Rate is the KL divergence in nats of a validation frame, distortion the summed
squared error of its reconstruction from the mean, and a unit is active if its mean varies over frames by more than .01.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from autocast.assembly import assemble_autoencoder
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.gaussian import ACTIVE_VARIANCE, GaussianBottleneck
from autocast.data.datamodule import FieldDataModule
from autocast.emulators import AutoencoderModel
from autocast.generative.noise import Noise
from autocast.losses.annealing import Annealing, Constant, Cyclical, Linear, Progress, Sigmoid
from autocast.losses.objective import ELBO, Objective
from autocast.losses.terms import KL, SquaredError
from autocast.types import Batch

RESULT = Path(__file__).parent / "results" / "annealing_grid.json"
N_STEPS, QUICK_STEPS = 400, 8
ANNEALINGS = ("none", "linear", "sigmoid", "cyclical")
BETAS = (0.3, 10.0, 300.0)
FREE_BITS = (0.0, 0.1)
ENCODER = functools.partial(
    DeepCompressionEncoder, widths=(16, 32, 64), blocks=(0, 0, 1), latent_channels=8, saturation=None
)
N_UNITS = 4 * 4 * 8
MARKERS = {"none": "o", "linear": "s", "sigmoid": "^", "cyclical": "D"}
COLOURS = {0.3: "#0072B2", 10.0: "#009E73", 300.0: "#D55E00"}


def annealing(name: str, beta: float, n_steps: int) -> Annealing:
    """Up to beta in the first half of the training; a cycle is a quarter."""
    made: dict[str, Annealing] = {
        "none": Constant(beta),
        "linear": Linear(beta, n_steps // 2),
        "sigmoid": Sigmoid(beta, n_steps // 2),
        "cyclical": Cyclical(beta, n_steps // 4),
    }
    return made[name]


def train(data: FieldDataModule, name: str, free_bits: float, beta: float, n_steps: int) -> AutoencoderModel:
    torch.manual_seed(0)
    terms = {"mse": SquaredError(), "kl": KL(free_bits=free_bits)}
    model = assemble_autoencoder(
        ENCODER,
        GaussianBottleneck,
        objective=Objective(terms, {"mse": 1.0, "kl": annealing(name, beta, n_steps)}, reduction=ELBO),
        spec=data.spec,
        normaliser=data.normaliser,
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    batches = itertools.chain.from_iterable(data.train_dataloader() for _ in itertools.count())
    for step, batch in zip(range(n_steps), batches, strict=False):
        model.advance(Progress(step))
        loss = model.loss(batch, Noise([(0, step, row) for row in range(batch.size)]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def measure(model: AutoencoderModel, batches: list[Batch]) -> dict[str, float]:
    """Over all validation frames."""
    x = torch.cat([model.normaliser.normalise(batch.input_fields) for batch in batches])
    reconstruction, posterior = model.autoencoder.reconstruct(x)
    return {
        "rate": round(_per_frame(posterior.penalty()), 3),
        "distortion": round(_per_frame((x - reconstruction).square()), 3),
        "active_units": int((posterior.mode.flatten(0, 1).var(0) > ACTIVE_VARIANCE).sum()),
    }


def _per_frame(x: Tensor) -> float:
    return float(x.flatten(0, 1).flatten(1).sum(1).mean())


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Rate against distortion, and active units, with and without free bits."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    grid = figure.subplots(2, len(FREE_BITS), sharex="row", sharey="row", squeeze=False)
    for column, free_bits in enumerate(FREE_BITS):
        curve, units = grid[:, column]
        for row in (row for row in rows if row["free_bits"] == free_bits):
            place = ANNEALINGS.index(row["annealing"]) + 0.2 * (BETAS.index(row["beta"]) - 1)
            style = {"color": COLOURS[row["beta"]], "marker": MARKERS[row["annealing"]], "linestyle": "none"}
            curve.plot(row["rate"], row["distortion"], **style)
            units.bar(place, row["active_units"], 0.18, color=COLOURS[row["beta"]])
        curve.set(title=f"free bits {free_bits:g}", xlabel="rate / nats a frame", xscale="symlog")
        curve.grid(alpha=0.3)
        units.set_xticks(range(len(ANNEALINGS)), ANNEALINGS)
    grid[0, 0].set(ylabel="distortion, summed squared error", yscale="log")
    grid[1, 0].set(ylabel=f"active units of {N_UNITS}")
    for name, marker in MARKERS.items():
        grid[0, -1].plot([], [], marker, color="grey", label=name)
    for beta, colour in COLOURS.items():
        grid[0, -1].plot([], [], "-", color=colour, label=f"beta {beta:g}")
    grid[0, -1].legend(frameon=False, ncols=2)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps; nothing is written")
    quick = parser.parse_args().quick
    n_steps = QUICK_STEPS if quick else N_STEPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reaction_diffusion"
        program = str(Path(sys.executable).with_name("autocast"))
        splits = ["splits.train=12", "splits.valid=3", "splits.test=1", "simulator.n_frames=40"]
        simulate = [program, "data", "simulate", "--dataset", str(path), "simulator=reaction_diffusion", *splits]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
        data = FieldDataModule(path, batch_size=16)
        batches = list(data.val_dataloader())
        rows = []
        for name, free_bits, beta in itertools.product(ANNEALINGS, FREE_BITS, BETAS):
            told = measure(train(data, name, free_bits, beta, n_steps), batches)
            rows.append({"annealing": name, "free_bits": free_bits, "beta": beta, **told})
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "steps": n_steps,
        "rows": rows,
        "run": {
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy")},
        },
    }
    figure = draw(rows)
    if not quick:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        figure.savefig(RESULT.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
