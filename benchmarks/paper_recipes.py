"""Every experiment at the published size: built whole, its parameters counted, one step of training at batch 1.

The data are random numbers in the shape of the built-in data sets, so nothing is simulated; the latent models stand on
the autoencoder of the same size:

    python benchmarks/paper_recipes.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from autocast.assembly import build_blank
from autocast.generative.noise import Noise
from autocast.runs.build import build
from autocast.runs.compose import compose
from autocast.runs.request import Request
from autocast.types import Batch, FieldSpec

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "paper_recipes.json"
EXPERIMENTS = sorted(file.stem for file in (ROOT / "configs" / "experiment").glob("*.yaml"))
DATASETS = sorted(file.stem for file in (ROOT / "configs" / "simulator").glob("*.yaml"))
METHODS = ("direct", "ensemble", "flow_matching", "latent_flow_matching", "latent_diffusion", "autoencoder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", help="experiments whose name holds this")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    rows = []
    for experiment in EXPERIMENTS:
        dataset, method = split(experiment)
        if not dataset or (arguments.only and arguments.only not in experiment):
            continue
        rows.append({"experiment": experiment, **one_step(dataset, method)})
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "claim": "every experiment at the published size can be built and trained",
        "holds": bool(rows) and all(row["finite"] and row["moved"] for row in rows),
        "rows": rows,
        "run": {
            "n_threads": arguments.n_threads,
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "platform": platform.system(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    if arguments.only is None or arguments.out != RESULT:  # a part is no result
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def split(experiment: str) -> tuple[str, str]:
    """`gray_scott_direct` to its data set and its method; empty words for an experiment of another form."""
    found = [(d, m) for d in DATASETS for m in METHODS if experiment == f"{d}_{m}"]
    return found[0] if found else ("", "")


def one_step(dataset: str, method: str) -> dict[str, Any]:
    """Builds an experiment at its published size and makes one step."""
    config = composed(dataset, method)
    if method.startswith("latent"):
        config["model"].update({k: composed(dataset, "autoencoder")["model"][k] for k in ("encoder", "bottleneck")})
    spec, data = field_spec(dataset), config["datamodule"]
    torch.manual_seed(config["seed"])
    model = build_blank("ae" if method == "autoencoder" else "epd", build(config["model"]), spec, data)
    if method in ("direct", "ensemble", "flow_matching"):
        model.autoencoder.requires_grad_(True)  # what trains an emulator without an autoencoder of its own
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = build(config["optimizer"]["algorithm"])(trained, lr=config["optimizer"]["learning_rate"])
    before = [p.detach().clone() for p in trained]
    began = time.perf_counter()
    loss = model.train().loss(batch_of(spec, data), Noise([(0, 0)]))["loss"]
    loss.backward()
    optimizer.step()
    seconds = time.perf_counter() - began
    return {
        "parameters": sum(p.numel() for p in trained),
        "parameters_of_frozen_autoencoder": sum(p.numel() for p in model.parameters() if not p.requires_grad),
        "members": config["model"].get("processor", {}).get("n_members_train", 1),
        "batch_size": data["batch_size"],
        "learning_rate": config["optimizer"]["learning_rate"],
        "sampler_steps": config["model"].get("processor", {}).get("sampler", {}).get("n_steps"),
        "step_at_batch_1_seconds": round(seconds, 2),
        "loss": round(float(loss.detach()), 4),
        "finite": bool(loss.isfinite()) and all(bool(p.isfinite().all()) for p in trained),
        "moved": all(not torch.equal(p, old) for p, old in zip(trained, before, strict=True)),
    }


def composed(dataset: str, method: str) -> dict[str, Any]:
    """The resolved config of an experiment at its published size."""
    words: tuple[str, ...] = (f"experiment={dataset}_{method}", f"preset={method}_paper")
    if method.startswith("latent"):  # its architecture is put in by hand: nothing is trained here
        words += ("autoencoder_checkpoint=null",)
    with tempfile.TemporaryDirectory() as data:
        request = Request("ae" if method == "autoencoder" else "epd", (*words, f"datamodule.data_path={data}"))
        composition = compose(request)
    if composition.problems:
        raise SystemExit("\n".join(f"{problem.subject}: {problem.message}" for problem in composition.problems))
    config: Any = OmegaConf.to_container(composition.config, resolve=True)
    return config


def field_spec(dataset: str) -> FieldSpec:
    """What a data set that is simulated with the defaults says of itself."""
    config: Any = OmegaConf.to_container(compose(Request("simulate", (f"simulator={dataset}",))).config, resolve=True)
    description = dict(build(config["simulator"]).describe())
    del description["n_frames"]
    return FieldSpec.from_dict({"dataset_name": dataset, **description})


def batch_of(spec: FieldSpec, data: dict[str, Any]) -> Batch:
    """One window of random numbers."""
    frames = torch.randn(1, data["n_steps_input"] + data["n_steps_output"], *spec.grid_shape, spec.n_channels)
    return Batch(
        frames[:, : data["n_steps_input"]],
        frames[:, data["n_steps_input"] :],
        scalars=torch.randn(1, spec.n_scalars) if spec.n_scalars else None,
    )


if __name__ == "__main__":
    main()
