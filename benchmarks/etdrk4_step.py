"""The cost of a Gray-Scott step over that of the twelve real transforms that it needs.

A step of ETDRK4 evaluates the nonlinear term four times: two inverse transforms (A and B) and one forward transform
(A B^2) each, so eight inverse and four forward ones. Both are timed in turns in one process with the same batch,
precision and threads, and the medians are compared:

    python benchmarks/etdrk4_step.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml

from autocast.layout import frames_to_images
from autocast.simulators.gray_scott import GrayScott

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "simulator" / "gray_scott_the_well.yaml"
RESULT = ROOT / "benchmarks" / "results" / "etdrk4_step.json"
LIMIT = 1.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--n-repeats", type=int, default=60, help="interleaved timings of each")
    parser.add_argument("--n-inner", type=int, default=5, help="steps in one timing")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    rows = [
        compare(dtype, batch_size, arguments.n_repeats, arguments.n_inner)
        for dtype in (torch.float32, torch.float64)
        for batch_size in (1, 4, 8)
    ]
    result = {
        "claim": f"a step costs at most {LIMIT} times its 8 inverse and 4 forward real transforms of 128 x 128",
        "holds": all(row["ratio"] <= LIMIT for row in rows),
        "measurements": rows,
        "run": {
            "n_threads": arguments.n_threads,
            "n_repeats": arguments.n_repeats,
            "n_inner": arguments.n_inner,
            "platform": platform.system(),
            "cpu": cpu_model(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def compare(dtype: torch.dtype, batch_size: int, n_repeats: int, n_inner: int) -> dict:
    """Median times of a step and of its transforms, in milliseconds for one trajectory, and their ratio."""
    step, transforms = make_step(dtype, batch_size), make_transforms(dtype, batch_size)
    times: dict[Callable[[], None], list[float]] = {step: [], transforms: []}
    with torch.no_grad():
        for _ in range(n_repeats + 3):
            for function, seconds in times.items():
                began = time.perf_counter()
                for _ in range(n_inner):
                    function()
                seconds.append((time.perf_counter() - began) / n_inner)
    medians = [1e3 * statistics.median(times[f][3:]) / batch_size for f in (step, transforms)]
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "step_ms": round(medians[0], 4),
        "transforms_ms": round(medians[1], 4),
        "ratio": round(medians[0] / medians[1], 3),
    }


def make_step(dtype: torch.dtype, batch_size: int) -> Callable[[], None]:
    config = yaml.safe_load(CONFIG.read_text())
    simulator = GrayScott(**{key: value for key, value in config.items() if key != "_target_"})
    seeds = range(0, batch_size * len(simulator.feed_kill), len(simulator.feed_kill))  # of one pair (F, k)
    fields, scalars = zip(*[simulator.draw(np.random.default_rng(i), i) for i in seeds], strict=True)
    stepper = simulator.stepper(torch.tensor(scalars[0])[None], dtype)
    state = stepper.start(frames_to_images(torch.tensor(np.stack(fields), dtype=dtype)[:, None]))

    def step() -> None:
        nonlocal state
        state = stepper.step(state)

    return step


def make_transforms(dtype: torch.dtype, batch_size: int) -> Callable[[], None]:
    """Four times: both channels back, their product forth; as torch offers them, with all modes."""
    fields = torch.rand(batch_size, 2, 128, 128, dtype=dtype)
    product, amplitudes = fields[:, :1].contiguous(), torch.fft.rfft2(fields)

    def transforms() -> None:
        for _ in range(4):
            torch.fft.irfft2(amplitudes, s=(128, 128))
            torch.fft.rfft2(product)

    return transforms


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
