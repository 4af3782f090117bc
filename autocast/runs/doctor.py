"""What this machine has for autocast, what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from autocast.runs.console import Screen, file_size
from autocast.runs.directory import default_output_base
from autocast.runs.environment import datasets_dir, read_environment
from autocast.runs.exits import DONE, FAILED
from autocast.runs.provenance import gpu_names, package_versions
from autocast.runs.slurm.commands import SchedulerError, ask
from autocast.runs.slurm.nodes import partitions
from autocast.runs.user_settings import user_settings

OK, WARNING, BAD = "ok", "warning", "bad"
MARKS = {OK: "+", WARNING: "!", BAD: "x"}
OLDEST_PYTHON = (3, 11)
LITTLE_SPACE = 5e9
TORCH_REPORT = "import torch; print(torch.__version__, torch.cuda.device_count(), torch.get_num_threads())"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str
    found: str
    remedy: str = ""


def run(*, json: bool) -> int:
    """Looks at everything and prints it.

    Returns:
        0, or 1 where something that autocast cannot do without is missing.
    """
    read_environment()
    screen = Screen(as_json=json)
    findings = examine()
    if json:
        screen.document({"findings": [asdict(finding) for finding in findings]})
    else:
        screen.panel("doctor", [(f"{MARKS[f.state]} {f.name}", _text(f)) for f in findings])
    return FAILED if any(finding.state == BAD for finding in findings) else DONE


def examine() -> list[Finding]:
    checks: list[Callable[[], Iterator[Finding]]] = [_python, _torch, _gpu, _scheduler, _ffmpeg, _tracking, _places]
    return [finding for check in checks for finding in check()]


def _text(finding: Finding) -> str:
    return finding.found + (f"  ->  {finding.remedy}" if finding.remedy else "")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < OLDEST_PYTHON
    remedy = f"install Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer" if old else ""
    yield Finding("python", BAD if old else OK, f"{version} ({sys.executable})", remedy)
    versions = package_versions()
    missing = [name for name, found in versions.items() if found == "not installed"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("autocast", "lightning", "hydra-core", "h5py"))
    remedy = f"pip install {' '.join(missing)}" if missing else ""
    yield Finding("packages", BAD if missing else OK, shown, remedy)


def _torch() -> Iterator[Finding]:
    """Asked in another process: a broken installation may take its process with it."""
    done = subprocess.run(
        [sys.executable, "-c", TORCH_REPORT], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
        yield Finding("torch", BAD, reason, "pip install torch; see https://pytorch.org/get-started")
        return
    version, n_gpus, n_threads = done.stdout.split()[-3:]
    idle = bool(gpu_names()) and n_gpus == "0"
    remedy = "this build of torch does not see the GPU: install the CUDA build" if idle else ""
    yield Finding("torch", WARNING if idle else OK, f"{version}, {n_gpus} GPUs, {n_threads} threads", remedy)


def _gpu() -> Iterator[Finding]:
    names = gpu_names()
    yield Finding("gpu", OK, "; ".join(names) or f"none; {os.cpu_count()} CPUs")


def _scheduler() -> Iterator[Finding]:
    if not shutil.which("sbatch"):
        yield Finding("scheduler", OK, "none (no sbatch): jobs run on this machine")
        return
    try:
        version, table = ask("sbatch", "--version"), partitions()
    except SchedulerError as error:
        yield Finding("scheduler", WARNING, str(error), "or run with --mode local")
        return
    names = [f"{name} (default)" if partition.is_default else name for name, partition in table.items()]
    yield Finding("scheduler", OK, f"{version.out.strip()}: partitions {', '.join(names)}")
    profile = os.environ.get("AUTOCAST_CLUSTER") or user_settings().cluster
    yield Finding("cluster", OK, f"profile {profile}" if profile else "profile generic")


def _ffmpeg() -> Iterator[Finding]:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        yield Finding("ffmpeg", OK, str(get_ffmpeg_exe()))
    except (ImportError, RuntimeError) as error:
        yield Finding("ffmpeg", WARNING, str(error), "pip install imageio-ffmpeg; until then videos are GIFs")


def _tracking() -> Iterator[Finding]:
    netrc = Path("~/.netrc").expanduser()
    known = bool(os.environ.get("WANDB_API_KEY")) or (netrc.is_file() and "api.wandb.ai" in netrc.read_text())
    found = (
        "Weights & Biases: signed in" if known else "Weights & Biases: not signed in, so logging=wandb stays offline"
    )
    yield Finding("tracking", OK, found, "" if known else "wandb login, if you want it online")


def _places() -> Iterator[Finding]:
    data = datasets_dir()
    n = sum(path.is_dir() for path in data.iterdir()) if data.is_dir() else 0
    remedy = "" if n else "autocast data simulate --dataset reaction_diffusion, or set AUTOCAST_DATASETS"
    yield Finding("data", OK if n else WARNING, f"{data}: {n} data sets", remedy)
    outputs = default_output_base()
    free = shutil.disk_usage(
        next(path for path in (outputs.absolute(), *outputs.absolute().parents) if path.exists())
    ).free
    little = free < LITTLE_SPACE
    yield Finding(
        "outputs", WARNING if little else OK, f"{outputs}: {file_size(free)} free", "make room" if little else ""
    )
