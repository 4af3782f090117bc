"""What the command line costs before any work: `--help`, and a dry run with every check, against bare imports.

    python benchmarks/cli_startup.py

Runs are interleaved; the figures are medians of wall-clock times of whole processes.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "cli_startup.json"
N_RUNS = 15
BARE_APP = """
import typer
app = typer.Typer(rich_markup_mode="rich")
{commands}
app()
"""
COMMAND = """
@app.command()
def command_{n}(option: str = "x") -> None:
    "A command."
"""
TINY = ["simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 4, valid: 2, test: 2}"]


def seconds(command: list[str], cwd: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env={**os.environ, "COLUMNS": "100"})
    return time.perf_counter() - start


def imported(command: list[str], cwd: Path) -> set[str]:
    """Top-level packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=cwd, capture_output=True, text=True, check=True
    )
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder)
        bare = cwd / "bare.py"
        bare.write_text(BARE_APP.format(commands="".join(COMMAND.format(n=n) for n in range(9))))
        autocast = [str(Path(sys.executable).with_name("autocast"))]
        make = [*autocast, "data", "simulate", "--dataset", "data", "simulator=reaction_diffusion", *TINY]
        subprocess.run(make, cwd=cwd, check=True, capture_output=True)
        dry_run = ["epd", "--dry-run", "--dataset", "data"]
        commands = {
            "help": [*autocast, "--help"],
            "bare_typer_help": [sys.executable, str(bare), "--help"],
            "dry_run": [*autocast, *dry_run],
            "import_typer_hydra_h5py": [sys.executable, "-c", "import typer, hydra, h5py"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(N_RUNS):
            for name, command in commands.items():
                times[name].append(seconds(command, cwd))
        torch_free = {
            name: "torch" not in imported(["-m", "autocast", *words], cwd)
            for name, words in (("help", ["--help"]), ("dry_run", dry_run))
        }
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        "help_over_bare_typer": medians["help"] / medians["bare_typer_help"],
        "dry_run_over_imports": medians["dry_run"] / medians["import_typer_hydra_h5py"],
    }
    result = {
        "claim": "help at most 1.2 times a bare Typer app's; a dry run at most 3 times importing typer, hydra and h5py",
        "holds": ratios["help_over_bare_typer"] <= 1.2 and ratios["dry_run_over_imports"] <= 3,
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "imports_no_torch": torch_free,
        "run": {
            "n_runs": N_RUNS,
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("typer", "hydra-core", "h5py")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
