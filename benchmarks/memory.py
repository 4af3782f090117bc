"""How memory grows with the windows of an unrolled training, and with members and steps of an evaluation.

    python benchmarks/memory.py [--quick]

Some minutes. Every figure is the peak of the resident memory of a process of its own, above what it is once the
model and the data are there, as the kernel counts it (Linux only).

1. `training`: a step of 8 unrolled windows with gradient checkpointing against a step of one window.
2. `evaluation`: 128 members against 8, through `evaluate` and all its scores. How much goes into a model call follows
   from what is measured and `eval.memory_limit`.
3. `stress`: a rollout of 10,000 steps far beyond the data against one of 1,000 (`eval.stress`).

glibc keeps what is freed, up to 32 MB, in pieces that later ones may not fit into, so that resident memory says less;
the processes are told to give back at once what is larger than 256 kB (MALLOC_MMAP_THRESHOLD_).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.datamodule import FieldDataModule
from autocast.data.simulate import simulate_dataset
from autocast.evaluation.evaluate import evaluate
from autocast.evaluation.settings import EvaluationSettings
from autocast.generative.noise import Noise
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.simulators.advection_diffusion import AdvectionDiffusion
from autocast.training.optimizers import parameter_groups

RESULT = Path(__file__).parent / "results" / "memory.json"
LIMITS = {"training": 1.3, "evaluation": 1.1, "stress": 1.1}
N_ROWS = {False: 72, True: 16}
"""Of a training batch, by `quick`."""
MEMORY_LIMIT = {False: 0.266, True: 0.068}
"""GB for the tensors of a model call in the evaluation: some 40 rows."""


def emulator(datamodule: FieldDataModule, processor: Any, width: int) -> Any:
    torch.manual_seed(0)
    return assemble_emulator(
        IdentityEncoder,
        IdentityBottleneck,
        functools.partial(processor, backbone=functools.partial(UNet, width=width, levels=1, blocks=1)),
        spec=datamodule.spec,
        normaliser=datamodule.normaliser,
        n_steps_input=1,
        n_steps_output=1,
    )


def train(data: Path, n_windows: int, quick: bool) -> int:
    datamodule = FieldDataModule(data, batch_size=N_ROWS[quick], n_windows=n_windows)
    model = emulator(datamodule, functools.partial(Direct, gradient_checkpointing=True, pushforward=False), width=32)
    optimizer = torch.optim.AdamW(parameter_groups(model), fused=True)
    batch = next(iter(datamodule.train_dataloader()))

    def steps() -> None:
        for step in range(2):
            model.loss(batch, Noise([(step, row) for row in range(batch.size)]))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

    return peak(steps)


def score(data: Path, n_members: int, quick: bool) -> int:
    datamodule = FieldDataModule(data, batch_size=8)
    model = emulator(datamodule, Ensemble, width=64).eval()
    settings = EvaluationSettings(n_members=n_members, n_steps=4, video=False, memory_limit=MEMORY_LIMIT[quick])
    with tempfile.TemporaryDirectory() as directory:
        return peak(lambda: evaluate(model, datamodule, settings, Path(directory)))


def stress(data: Path, n_steps: int, quick: bool) -> int:
    datamodule = FieldDataModule(data, batch_size=8)
    model = emulator(datamodule, Direct, width=8).eval()
    settings = EvaluationSettings(
        metrics=("vrmse",), baselines=(), n_steps=4, video=False, stress=n_steps // 10 if quick else n_steps
    )
    with tempfile.TemporaryDirectory() as directory:
        return peak(lambda: evaluate(model, datamodule, settings, Path(directory)))


def peak(work: Callable[[], Any]) -> int:
    """Bytes of resident memory at most, above what there is before the work."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def resident(key: str) -> int:
    """Bytes: `VmRSS` now, `VmHWM` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


MEASURED = {"training": (train, 1, 8), "evaluation": (score, 8, 128), "stress": (stress, 1_000, 10_000)}


def measure(name: str, data: Path, quick: bool) -> dict[str, Any]:
    """Both sizes of a measurement, each in a process of its own."""
    _, few, many = MEASURED[name]
    found = {}
    for n in (few, many):
        command = [sys.executable, __file__, *(["--quick"] if quick else []), "--child", name, str(n), str(data)]
        environ = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18)}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ)
        found[n] = int(done.stdout.splitlines()[-1])
    ratio = found[many] / found[few]
    megabytes = {n: round(n_bytes / 1e6, 1) for n, n_bytes in found.items()}
    return {"megabytes": megabytes, "ratio": round(ratio, 3), "limit": LIMITS[name], "holds": ratio <= LIMITS[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 x 32 instead of 64 x 64: shows that it runs")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "N", "DATA"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.child:
        name, n, data = arguments.child
        print(MEASURED[name][0](Path(data), int(n), arguments.quick))
        return
    with tempfile.TemporaryDirectory() as directory:
        n_points = 32 if arguments.quick else 64
        data = Path(directory) / "data"
        simulator = AdvectionDiffusion(grid_shape=(n_points, n_points), n_frames=17)
        simulate_dataset(simulator, data, splits={"train": 10, "valid": 1, "test": 8}, seed=0)
        result = {name: measure(name, data, arguments.quick) for name in MEASURED}
    result["run"] = {"python": platform.python_version(), "torch": str(torch.__version__), "n_threads": 2}
    print(json.dumps(result, indent=2))
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
