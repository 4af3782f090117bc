"""What benchmarks on a GPU share: which machine it is, what it can do at most, and how long something takes there."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from autocast.training.utilisation import peaks_of

RESULTS = Path(__file__).parent / "results"
CALLS_AT_ONCE = 5


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


def peaks() -> dict[str, float]:
    """Of this device, in TFLOP/s; nothing where they are not known."""
    return peaks_of(device_name())


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> float | None:
    """GB of the device's memory since the last call, at most."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return round(found, 2)


def seconds_per_call(call: Callable[[], Any], *, n_warmup: int, seconds: float) -> float:
    """On average over at least `seconds`, after those that warm up; the device is waited for every few calls only."""
    for _ in range(n_warmup):
        call()
    synchronise()
    n_calls, start = 0, time.perf_counter()
    while n_calls == 0 or time.perf_counter() - start < seconds:
        for _ in range(CALLS_AT_ONCE):
            call()
        n_calls += CALLS_AT_ONCE
        synchronise()
    return (time.perf_counter() - start) / n_calls


def machine() -> dict[str, Any]:
    return {
        "device": device_name(),
        "cuda": torch.version.cuda,
        "platform": platform.system(),
        "n_cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "lightning", "numpy")},
    }


def write(result: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(file)


def result_file(name: str, asked: Path | None, *, toy: bool) -> Path:
    """Where a result goes; one of toy size tells nothing, so it never replaces one that does."""
    return asked or (Path("outputs") / "benchmarks" / f"{name}_toy.json" if toy else RESULTS / f"{name}.json")
