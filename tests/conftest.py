"""Shared fixtures: one thread per test process, and no trace of the user's own settings."""

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forks import serve

pytest_plugins = ["tests.shares", "tests.slurm.plugin"]

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes share two cores
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell starts with it ignored


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests see neither the user's settings, data and output roots nor those of a surrounding allocation."""
    for name in list(os.environ):
        if name.startswith(("AUTOCAST_", "SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shape annotations, which torch cannot compile, and without what was compiled before."""
    import torch._dynamo
    from jaxtyping import config

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config.update("jaxtyping_disable", True)
    with torch._dynamo.config.patch(recompile_limit=64):  # the wrappers of annotated functions are all one function
        yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`simulated(*overrides)`: a new data set of reaction and diffusion."""
    from autocast.runs.request import Request
    from autocast.runs.using import simulate

    def make(*words: str) -> Path:
        path = tmp_path_factory.mktemp("data") / "reaction_diffusion"
        assert simulate(Request("simulate", words, dataset=str(path))) == 0
        return path

    return make


@pytest.fixture(scope="session")
def forks() -> Iterator[Path]:
    """Scripts of the commands' names that start in no time: a folder for the front of `PATH`."""
    with serve() as folder:
        yield folder


@pytest.fixture(scope="session")
def read_wandb() -> Callable[[Path], tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Reads run id, config and history from the file of an offline W&B run."""
    return _read_wandb


def _read_wandb(file: Path) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    from wandb.proto import wandb_internal_pb2

    config, history, run_id = {}, [], ""
    for data in _log_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        run_id = record.run.run_id or run_id
        for change in [*record.run.config.update, *record.config.update]:
            config[change.key] = json.loads(change.value_json)
        if record.HasField("history"):
            items = record.history.item
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return run_id, config, history


def _log_records(content: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: a 7-byte file header, then blocks of 32 KiB."""
    assert content[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(content):
        left_in_block = 2**15 - position % 2**15
        if left_in_block < 7:
            position += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
