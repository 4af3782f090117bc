"""Shared fixtures: one thread per test process, and no trace of the user's own settings."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes share two cores
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see neither the user's data and output roots nor the variables of a surrounding SLURM allocation."""
    for name in list(os.environ):
        if name.startswith(("AUTOCAST_", "SLURM_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT
