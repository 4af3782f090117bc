"""A toy model, toy data and the fixture that trains one on the other."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autocast.data.loader import BatchLoader, TrainLoader
from autocast.data.sampler import EpochSampler
from autocast.data.well_writer import well_file
from autocast.generative.noise import Noise
from autocast.training.averaging import WarmupEMA
from autocast.training.fit import Destination, FitSummary, Recipe, fit
from autocast.training.optimizers import warmup_cosine
from autocast.types import Batch, FieldSpec

N_INPUT, N_OUTPUT, GRID, CHANNELS = 3, 2, (8, 12), 2


class ToyModel(nn.Module):
    """A linear map over steps and channels, beside a frozen part that must never change."""

    def __init__(self, noise: float = 0.0, bad_step: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(N_INPUT * CHANNELS, N_OUTPUT * CHANNELS)
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.noise = noise
        self.bad_step = bad_step
        self.n_calls = 0
        self.draws: list[float] = []

    def loss(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        x = batch.input_fields.movedim(1, -2).flatten(-2)
        if self.noise:
            drawn = noise.normal(*x.shape[1:], like=x)
            self.draws.append(float(drawn[0, 0, 0, 0]))
            x = x + self.noise * drawn
        y = batch.output_fields.movedim(1, -2).flatten(-2)
        error = (self.map(x) - y).square().mean()
        smooth = 1e-3 * self.map.weight.square().mean()
        self.n_calls += self.training
        if self.bad_step == self.n_calls and self.training:
            smooth = smooth * float("nan")
        return {"loss": error + smooth, "error": error, "smooth": smooth}

    def validation_scores(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        return {"vrmse": self.loss(batch, noise)["error"].sqrt()}


class Windows(torch.utils.data.Dataset[Batch]):
    def __init__(self, n: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, N_INPUT, *GRID, CHANNELS, generator=generator)
        self.y = 0.5 * self.x[:, :N_OUTPUT] - 0.2 * self.x[:, 1 : N_OUTPUT + 1].flip(-1)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Batch:
        rows = torch.as_tensor(rows)
        return Batch(self.x[rows], self.y[rows], trajectory=rows, start=torch.zeros_like(rows))


class ToyData(L.LightningDataModule):
    """Batches of 5 windows; 4 training steps in an epoch."""

    def __init__(self, n: int = 22, batch_size: int = 5, delay: Callable[[], None] | None = None):
        super().__init__()
        self.train, self.valid = Windows(n, 1), Windows(7, 2)
        self.batch_size = batch_size

    def train_dataloader(self) -> TrainLoader:
        return TrainLoader.over(self.train, self._sampler(self.train, shuffle=True))

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader.over(self.valid, self._sampler(self.valid, shuffle=False))

    def _sampler(self, windows: Windows, *, shuffle: bool) -> EpochSampler:
        return EpochSampler(len(windows), seed=7, batch_size=self.batch_size, shuffle=shuffle)


def make_recipe(max_epochs: int = 3, **changes: Any) -> Recipe:
    trainer_options = changes.pop("trainer_options", {})
    trainer = functools.partial(
        L.Trainer, max_epochs=max_epochs, accelerator="cpu", log_every_n_steps=2, **trainer_options
    )
    parts: dict[str, Any] = {
        "trainer": trainer,
        "optimizer": functools.partial(torch.optim.AdamW, lr=0.03),
        "lr_scheduler": functools.partial(warmup_cosine, warmup_steps=3),
        "callbacks": {"ema": WarmupEMA(decay=0.9)},
    }
    return Recipe(**{**parts, **changes})


def make_destination(run_dir: Path) -> Destination:
    return Destination(
        "epd", run_dir / "epd", run_dir / "encoder_processor_decoder.ckpt", {"seed": 42}, {"name": "toy"}
    )


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., FitSummary]:
    """Trains a toy model into `tmp_path`, or into `run_dir`."""
    torch.set_num_threads(1)

    def run(
        model: nn.Module | None = None, *, run_dir: Path = tmp_path, max_epochs: int = 3, **options: Any
    ) -> FitSummary:
        own = {name: options.pop(name) for name in ("resume_from", "on_event", "display", "stop") if name in options}
        data = options.pop("data", None) or ToyData()
        return fit(model or ToyModel(), data, make_recipe(max_epochs, **options), make_destination(run_dir), **own)

    return run


@pytest.fixture
def toy() -> Any:
    """This module."""
    return sys.modules[__name__]


def load(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def states_are_equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(states_are_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(states_are_equal, a, b))
    return a == b


@pytest.fixture(scope="module")
def ranks() -> ModuleType:
    """What torchrun starts for tests of several processes."""
    spec = importlib.util.spec_from_file_location("ranks", Path(__file__).with_name("ranks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 windows to train on, of which an epoch uses 24, and 9 to validate on: one is left for the last batch."""
    path = tmp_path_factory.mktemp("data") / "toy"
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), (8, 12), (2.0, 3.0), ("periodic", "wall"), 0.3)
    rng = np.random.default_rng(0)
    for split, n, n_steps in (("train", 3, 13), ("valid", 1, 13)):
        with well_file(path / f"data/{split}/part.hdf5", spec, n_trajectories=n, n_steps=n_steps) as writer:
            for i in range(n):
                writer.write(i, rng.normal(size=(n_steps, 8, 12, 2)).astype(np.float32))
    return path
