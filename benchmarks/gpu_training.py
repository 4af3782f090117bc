"""How fast a GPU trains the vision transformer of size l, in single precision, TF32, bf16, and bf16 compiled.

    python benchmarks/gpu_training.py           # some three minutes on an H100
    python benchmarks/gpu_training.py --toy     # seconds on a CPU; without a GPU by itself

One deterministic emulator in field space, 64 x 64 points in patches of 4, four steps in and one out. Every variant
makes whole optimiser steps (loss, gradients, fused AdamW) on batches that lie on the device. Floating point operations
are those of matrix products and convolutions in one loss and its gradients, counted once and the same for all variants.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_machine
import torch

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.emulators import EncoderProcessorDecoder
from autocast.generative.noise import Noise
from autocast.nn.compilation import compile_networks
from autocast.nn.vit import ViT
from autocast.processors.direct import Direct
from autocast.training.compilation import tf32
from autocast.training.optimizers import parameter_groups
from autocast.training.utilisation import count_flops
from autocast.types import Batch, FieldSpec

NAME = "gpu_training"
TIMES_FASTER, SHARE_OF_PEAK = 3.0, 0.35


@dataclass(frozen=True)
class Variant:
    peak: str
    """Its column in the table of peaks."""
    tf32: bool = False
    bf16: bool = False
    compile: str | None = None


VARIANTS = {
    "fp32": Variant("fp32"),
    "tf32": Variant("tf32", tf32=True),
    "bf16-mixed": Variant("bf16", tf32=True, bf16=True),
    "bf16-mixed, compiled": Variant("bf16", tf32=True, bf16=True, compile="default"),
}


@dataclass(frozen=True)
class Sizes:
    size: str = "l"
    n_points: int = 64
    n_input: int = 4
    seconds: float = 10.0
    n_warmup: int = 5


TOY = Sizes(size="xs", n_points=16, n_input=2, seconds=0.0, n_warmup=1)


def make_emulator(sizes: Sizes) -> EncoderProcessorDecoder:
    grid = (sizes.n_points,) * 2
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), grid, (1.0, 1.0), ("periodic", "periodic"), 0.1)
    torch.manual_seed(0)
    return assemble_emulator(
        IdentityEncoder,
        IdentityBottleneck,
        functools.partial(Direct, backbone=functools.partial(ViT, size=sizes.size, patch_size=4)),
        spec=spec,
        normaliser=Normaliser.identity(2),
        n_steps_input=sizes.n_input,
        n_steps_output=1,
    )


def make_batch(sizes: Sizes, n_rows: int) -> Batch:
    frames = torch.randn(n_rows, sizes.n_input + 1, sizes.n_points, sizes.n_points, 2, device=gpu_machine.device())
    return Batch(frames[:, : sizes.n_input], frames[:, sizes.n_input :])


def loss_of(emulator: EncoderProcessorDecoder, batch: Batch) -> torch.Tensor:
    return emulator.loss(batch, Noise([(0, row) for row in range(batch.size)]))["loss"]


def measure(variant: Variant, emulator: EncoderProcessorDecoder, sizes: Sizes, n_rows: int) -> dict[str, Any]:
    """Seconds of a step, the first one apart, and the memory that all of it takes."""
    torch.compiler.reset()
    gpu_machine.peak_memory()
    emulator, batch = copy.deepcopy(emulator).train(), make_batch(sizes, n_rows)
    optimizer = torch.optim.AdamW(parameter_groups(emulator), lr=1e-4, fused=True)
    if variant.compile is not None:
        compile_networks(emulator, variant.compile)

    def step() -> None:
        with torch.autocast(batch.input_fields.device.type, torch.bfloat16, enabled=variant.bf16):
            loss = loss_of(emulator, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(emulator.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    with tf32(variant.tf32):
        start = time.perf_counter()
        step()
        gpu_machine.synchronise()
        first = time.perf_counter() - start
        seconds = gpu_machine.seconds_per_call(step, n_warmup=sizes.n_warmup, seconds=sizes.seconds)
    return {
        "samples_per_second": round(n_rows / seconds, 1),
        "ms_per_step": round(1e3 * seconds, 3),
        "first_step_seconds": round(first, 1),
        "peak_memory_gb": gpu_machine.peak_memory(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a small network, a few steps")
    parser.add_argument("--batch-size", type=int, help="128, or 2 with --toy")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, help="all, or with --toy those that are not compiled"
    )
    parser.add_argument("--seconds", type=float, default=Sizes.seconds, help="of measuring, for each variant")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    toy = asked.toy or not torch.cuda.is_available()
    sizes, n_rows = (TOY if toy else Sizes(seconds=asked.seconds)), asked.batch_size or (2 if toy else 128)
    emulator = make_emulator(sizes).to(gpu_machine.device())
    flops = count_flops(emulator, make_batch(sizes, 1))
    peaks, rows = gpu_machine.peaks(), {}
    chosen = asked.variants or [name for name, variant in VARIANTS.items() if not (toy and variant.compile)]
    for name in chosen:
        row = measure(VARIANTS[name], emulator, sizes, n_rows)
        row["tflops"] = round(row["samples_per_second"] * flops / 1e12, 3)
        row["share_of_peak"] = round(row["tflops"] / peaks[VARIANTS[name].peak], 3) if peaks else None
        rows[name] = row
        print(name, row, flush=True)
    gpu_machine.write(summarise(rows, flops, n_rows, toy=toy), gpu_machine.result_file(NAME, asked.out, toy=toy))


def summarise(rows: dict[str, dict[str, Any]], flops: int, n_rows: int, *, toy: bool) -> dict[str, Any]:
    best = max(rows, key=lambda name: rows[name]["samples_per_second"])
    speeds = {name: row["samples_per_second"] for name, row in rows.items()}
    faster = round(speeds[best] / speeds["fp32"], 2) if "fp32" in speeds else None
    share = rows[best]["share_of_peak"]
    return {
        "claim": f"the fastest is {TIMES_FASTER:g} times faster than fp32 and reaches {SHARE_OF_PEAK:.0%} of its peak",
        "holds": None if None in (faster, share) else faster >= TIMES_FASTER and share >= SHARE_OF_PEAK,
        "toy": toy,
        "fastest": best,
        "times_faster_than_fp32": faster,
        "gflop_per_sample": round(flops / 1e9, 2),
        "batch_size": n_rows,
        "variants": rows,
        "run": gpu_machine.machine(),
    }


if __name__ == "__main__":
    main()
