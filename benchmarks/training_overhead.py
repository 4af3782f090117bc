"""What our training costs over a bare PyTorch loop: per step, per epoch, and in waiting for data from disk.

    python benchmarks/training_overhead.py [--quick]

Four minutes on two idle cores. The bare loop has the same model, batches, optimiser, clipping, schedule and averaged
weights, and validates with them. Ours is `fit` as `autocast epd` calls it: logged metrics, checkpoints, the progress
line and all. The first epoch of every run warms up; what is told is the median of the others.

1. `step`: a U-Net of 0.2 million parameters on a grid so small that the loop is mostly overhead, in one thread. Every
   step of ours is followed by one of the bare loop, in the same process, and what is told is the median of the
   differences: a machine whose speed varies more than the two differ has no say. Between the two runs of `epoch`,
   which alternate, it has little.
2. `epoch`: the direct U-Net of 64 x 64 fields, data in RAM, validation and checkpoints included.
3. `disk`: the same, from HDF5 files with two workers: how much of the time training waits for them.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autocast.assembly import assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.datamodule import FieldDataModule
from autocast.data.simulate import simulate_dataset
from autocast.generative.noise import Noise
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.simulators.advection_diffusion import AdvectionDiffusion
from autocast.training.averaging import WarmupEMA
from autocast.training.fit import Destination, Recipe, fit
from autocast.training.optimizers import parameter_groups, warmup_cosine
from autocast.training.progress import Display, Progress
from autocast.types import Batch

RESULT = Path(__file__).parent / "results" / "training_overhead.json"
LIMITS = {"step": 1.3, "epoch": 1.05, "disk": 0.02}
OPTIMIZER = functools.partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.99), fused=True)
SCHEDULE = functools.partial(warmup_cosine, warmup_steps=50)


@dataclass(frozen=True)
class Case:
    """A model on a data set, trained again and again."""

    datamodule: Callable[[], FieldDataModule]
    backbone: Callable[..., UNet]
    n_epochs: int

    def model(self, datamodule: FieldDataModule) -> Any:
        torch.manual_seed(0)
        return assemble_emulator(
            IdentityEncoder,
            IdentityBottleneck,
            functools.partial(Direct, backbone=self.backbone),
            spec=datamodule.spec,
            normaliser=datamodule.normaliser,
            n_steps_input=datamodule.n_steps_input,
            n_steps_output=datamodule.n_steps_output,
        )


class Clock(Callback):
    """The seconds of epochs, with all that is between them."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    @property
    def seconds_per_epoch(self) -> float:
        return statistics.median(b - a for a, b in zip(self.starts[1:-1], self.starts[2:], strict=True))


class Waits(Callback):
    """What the progress line says of waiting for data, unrounded, of all epochs but the first."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch > 0:
            (progress,) = (found for found in trainer.callbacks if isinstance(found, Progress))
            self.shares.append(progress.throughput.wait)


def ours(case: Case, watcher: Callback) -> None:
    """`fit`, as the commands call it."""
    datamodule = case.datamodule()
    recipe = Recipe(
        functools.partial(L.Trainer, max_epochs=case.n_epochs, accelerator="cpu", devices=1, gradient_clip_val=1.0),
        OPTIMIZER,
        SCHEDULE,
        callbacks={"ema": WarmupEMA(), "watcher": watcher},
        max_spike=1000.0,
    )
    display = Display(Console(file=io.StringIO(), width=200), live=False)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        destination = Destination("epd", directory / "epd", directory / "epd.ckpt", {}, datamodule.spec.to_dict())
        fit(case.model(datamodule), datamodule, recipe, destination, display=display)


class BareLoop:
    """The same without anything of ours but model, data and optimiser."""

    def __init__(self, case: Case):
        datamodule = case.datamodule()
        self.model = case.model(datamodule)
        self.train, self.valid = datamodule.train_dataloader(), datamodule.val_dataloader()
        self.n_epochs = case.n_epochs
        self.optimizer = OPTIMIZER(parameter_groups(self.model))
        self.schedule = SCHEDULE(self.optimizer, lambda step: len(self.train) * case.n_epochs)  # noqa: ARG005
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def steps(self, epoch: int) -> Iterator[None]:
        self.train.sampler.set_epoch(epoch)
        for indices in self.train.sampler:
            batch = self.train.dataset[indices]
            self.model.loss(batch, noise(batch))["loss"].backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.average.update_parameters(self.model)
            yield

    @torch.no_grad()
    def validate(self) -> None:
        for indices in self.valid.sampler:
            batch = self.valid.dataset[indices]
            self.average.module.loss(batch, noise(batch))

    def run(self) -> Clock:
        clock = Clock()
        for epoch in range(self.n_epochs):
            clock.on_train_epoch_start()
            for _ in self.steps(epoch):
                pass
            self.validate()
        clock.on_train_end()
        return clock


class Alternation(Callback):
    """After each of our steps one of the bare loop: the seconds of both, and those of each side by side."""

    def __init__(self, bare: BareLoop):
        self.bare = bare
        self.ours_s: list[float] = []
        self.bare_s: list[float] = []
        self._mark = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._steps = self.bare.steps(trainer.current_epoch)
        self._mark = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        before = time.perf_counter()
        with torch.enable_grad():
            next(self._steps)
        after = time.perf_counter()
        if trainer.current_epoch > 0:
            self.ours_s.append(before - self._mark)
            self.bare_s.append(after - before)
        self._mark = time.perf_counter()


def noise(batch: Batch) -> Noise:
    return Noise([(0, row) for row in range(batch.size)])


def overhead_per_step(case: Case) -> dict[str, Any]:
    both = Alternation(BareLoop(case))
    ours(case, both)
    extra = [1e3 * (a - b) for a, b in zip(both.ours_s, both.bare_s, strict=True)]
    low, median, high = statistics.quantiles(extra, n=4)
    return {
        "n_steps": len(extra),
        "ours_ms": round(1e3 * statistics.median(both.ours_s), 3),
        "bare_ms": round(1e3 * statistics.median(both.bare_s), 3),
        "extra_ms": round(median, 3),
        "extra_quartiles_ms": [round(low, 3), round(high, 3)],
        "limit_ms": LIMITS["step"],
        "holds": median <= LIMITS["step"],
    }


def ratio_of_epochs(case: Case, rounds: int) -> dict[str, Any]:
    figures = []
    for _ in range(rounds):
        clock = Clock()
        ours(case, clock)
        figures.append((clock.seconds_per_epoch, BareLoop(case).run().seconds_per_epoch))
    ratio = statistics.median(a / b for a, b in figures)
    return {
        "ours_s": [round(a, 3) for a, _ in figures],
        "bare_s": [round(b, 3) for _, b in figures],
        "n_steps": len(case.datamodule().train_dataloader()),
        "ratio": round(ratio, 4),
        "limit": LIMITS["epoch"],
        "holds": ratio <= LIMITS["epoch"],
    }


def data_wait(case: Case) -> dict[str, Any]:
    watcher = Waits()
    ours(case, watcher)
    waits = [round(share, 4) for share in watcher.shares]
    wait = statistics.median(waits)
    return {"waits": waits, "wait": wait, "limit": LIMITS["disk"], "holds": wait < LIMITS["disk"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it runs, and nothing else")
    parser.add_argument("--n-threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    rounds, n_epochs = (1, 3) if arguments.quick else (3, 4)
    with tempfile.TemporaryDirectory() as directory:
        small, large = Path(directory) / "small", Path(directory) / "large"
        simulate(small, 16, arguments.quick)
        simulate(large, 64, arguments.quick)
        tiny = functools.partial(UNet, width=16, levels=3, blocks=1)
        ordinary = functools.partial(UNet, width=8 if arguments.quick else 32, levels=2, blocks=1)
        in_ram = functools.partial(FieldDataModule, large, batch_size=16)
        on_disk = functools.partial(in_ram, placement="disk", n_workers=2)
        cases = {
            "step": Case(functools.partial(FieldDataModule, small, batch_size=4), tiny, 3 * n_epochs),
            "epoch": Case(in_ram, ordinary, n_epochs),
            "disk": Case(on_disk, ordinary, 2 * n_epochs),
        }
        torch.set_num_threads(1)
        step = overhead_per_step(cases["step"])
        torch.set_num_threads(arguments.n_threads)
        result = {
            "step": {"parameters": n_parameters(cases["step"]), **step},
            "epoch": {"parameters": n_parameters(cases["epoch"]), **ratio_of_epochs(cases["epoch"], rounds)},
            "disk": data_wait(cases["disk"]),
            "run": {
                "cpu": cpu_model(),
                "n_threads": arguments.n_threads,
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "lightning": L.__version__,
            },
        }
    print(json.dumps(result, indent=2))
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def simulate(directory: Path, n_points: int, quick: bool) -> None:
    simulator = AdvectionDiffusion(grid_shape=(n_points, n_points), n_frames=6 if quick else 21)
    splits = {"train": 4 if quick else 20, "valid": 1 if quick else 2, "test": 1}
    simulate_dataset(simulator, directory, splits=splits, seed=0)


def n_parameters(case: Case) -> int:
    return sum(p.numel() for p in case.model(case.datamodule()).parameters())


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
