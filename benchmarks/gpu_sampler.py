"""How much faster the compiled solve of a flow-matching forecast is than the eager one.

    python benchmarks/gpu_sampler.py            # at most some nine minutes on an H100
    python benchmarks/gpu_sampler.py --toy      # a CPU; without a GPU by itself

A window of an emulator in field space, 64 x 64 points, by several numbers of trajectories times members, each compiled
for itself as an evaluation does with `eval.compile=true`: on a GPU with CUDA graphs. Both draw the same noise.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_machine
import torch

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.emulators import EncoderProcessorDecoder
from autocast.generative.samplers import Euler
from autocast.nn.unet import UNet
from autocast.nn.vit import ViT
from autocast.processors.flow_matching import FlowMatching
from autocast.types import FieldSpec

NAME = "gpu_sampler"
TIMES_FASTER = 2.0
BACKBONES: dict[str, Callable[..., Any]] = {"unet": UNet, "vit": ViT}
BATCHES = ((1, 8), (4, 16), (16, 16))
"""Trajectories and members."""
TOY_BATCH = (1, 2)
N_WINDOWS = 8
LATEST = 300.0
"""Seconds after which no other batch is begun: a compilation takes a minute or two."""


def make_emulator(backbone: Callable[..., Any], n_points: int, n_solver_steps: int) -> EncoderProcessorDecoder:
    grid = (n_points,) * 2
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), grid, (1.0, 1.0), ("periodic", "periodic"), 0.1)
    torch.manual_seed(0)
    emulator = assemble_emulator(
        IdentityEncoder,
        IdentityBottleneck,
        functools.partial(FlowMatching, backbone=backbone, sampler=Euler(n_solver_steps)),
        spec=spec,
        normaliser=Normaliser.identity(2),
        n_steps_input=1,
        n_steps_output=1,
    )
    return emulator.to(gpu_machine.device()).eval()


def compare(
    eager: EncoderProcessorDecoder, n_trajectories: int, n_members: int, n_windows: int, seconds: float
) -> dict[str, Any]:
    """Seconds of a window, with its noise, and the largest difference over a rollout."""
    torch.compiler.reset()
    compiled = copy.deepcopy(eager)
    compiled.compile_forecasts("reduce-overhead" if torch.cuda.is_available() else "default")
    x = torch.randn(n_trajectories, 1, *eager.spec.grid_shape, 2, device=gpu_machine.device())
    calls = {
        name: functools.partial(emulator.rollout, x, n_windows, n_members=n_members)
        for name, emulator in {"eager": eager, "compiled": compiled}.items()
    }
    start = time.perf_counter()
    error = float((calls["compiled"]() - calls["eager"]()).abs().max())
    first = time.perf_counter() - start
    times = {
        name: gpu_machine.seconds_per_call(call, n_warmup=2, seconds=seconds) / n_windows
        for name, call in calls.items()
    }
    return {
        "n_trajectories": n_trajectories,
        "n_members": n_members,
        **{f"{name}_ms_per_window": round(1e3 * each, 3) for name, each in times.items()},
        "times_faster": round(times["eager"] / times["compiled"], 2),
        "largest_difference": error,
        "compilation_seconds": round(first, 1),
        "pays_from_windows": round(first / saved) if (saved := times["eager"] - times["compiled"]) > 0 else None,
    }


def batch(text: str) -> tuple[int, int]:
    n_trajectories, n_members = map(int, text.split("x"))
    return n_trajectories, n_members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="one transformer block on a small grid")
    parser.add_argument("--backbone", choices=BACKBONES, default="unet")
    parser.add_argument("--size", default="s", help="of the backbone")
    parser.add_argument("--n-solver-steps", type=int, help="8, or 2 with --toy")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring, each of both")
    parser.add_argument("--batches", nargs="+", type=batch, default=BATCHES, help="16x8 are 16 trajectories, 8 members")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    toy, start = asked.toy or not torch.cuda.is_available(), time.monotonic()
    n_solver_steps = asked.n_solver_steps or (2 if toy else 8)
    backbone = functools.partial(BACKBONES[asked.backbone], size=asked.size)
    if toy:
        backbone = functools.partial(ViT, dim=8, depth=1, heads=2)
    emulator, rows = make_emulator(backbone, 16 if toy else 64, n_solver_steps), []
    for n_trajectories, n_members in [TOY_BATCH] if toy else asked.batches:
        if time.monotonic() - start > LATEST:
            break
        n_windows, seconds = (2, 0.0) if toy else (N_WINDOWS, asked.seconds)
        rows.append(compare(emulator, n_trajectories, n_members, n_windows, seconds))
        print(rows[-1], flush=True)
    fast_enough = [row["times_faster"] >= TIMES_FASTER for row in rows]
    result = {
        "claim": f"compiled solves are {TIMES_FASTER:g} times faster, at every size of the batch",
        "holds": None if toy else len(rows) == len(asked.batches) and all(fast_enough),
        "toy": toy,
        "backbone": "one transformer block" if toy else f"{asked.backbone}, size {asked.size}",
        "n_solver_steps": n_solver_steps,
        "batches": rows,
        "run": gpu_machine.machine(),
    }
    gpu_machine.write(result, gpu_machine.result_file(NAME, asked.out, toy=toy))


if __name__ == "__main__":
    main()
