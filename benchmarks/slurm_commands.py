"""What `train-eval --mode slurm --detach` costs over two bare sbatch calls, and `status` over 200 runs.

    python benchmarks/slurm_commands.py

On a real SLURM, which it starts for itself as the tests do (`tests/slurm/cluster.py`), without accounting. Jobs are
held, so that nothing else runs. Runs are interleaved; the figures are medians of wall-clock times of whole processes.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autocast.runs.directory import RunDirectory  # noqa: E402
from autocast.runs.events import append_event  # noqa: E402
from tests.slurm.cluster import Cluster  # noqa: E402

RESULT = Path(__file__).parent / "results" / "slurm_commands.json"
N_TIMES = 11
N_RUNS = 200
TINY = ["simulator.grid_shape=[16,16]", "simulator.n_frames=8", "splits={train: 4, valid: 2, test: 2}"]
COUNTING = '#!/bin/sh\necho {name} >> "{log}"\nexec {program} "$@"\n'


def seconds(command: list[str], cwd: Path, env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env=env)
    return time.perf_counter() - start


def bare_script(cwd: Path) -> str:
    script = cwd / "bare.sh"
    script.write_text("#!/bin/bash\n#SBATCH --hold\nsrun true\n")
    return str(script)


def submissions(autocast: list[str], cwd: Path, env: dict[str, str]) -> dict[str, list[float]]:
    """Seconds of both ways, one after the other each time."""
    script = bare_script(cwd)
    bare = ["bash", "-c", f'first=$(sbatch --parsable {script}); sbatch --dependency=afterok:"$first" {script}']
    words = ["train-eval", "--mode", "slurm", "--detach", "--dataset", "data", "--date", "rd"]
    times: dict[str, list[float]] = {"two_bare_sbatch": [], "train_eval_detach": []}
    for n in range(N_TIMES):
        times["two_bare_sbatch"].append(seconds(bare, cwd, env))
        ours = [*autocast, *words, "--run-name", str(n), "cluster.options.hold=true"]
        times["train_eval_detach"].append(seconds(ours, cwd, env))
    return times


def make_runs(cwd: Path, job_ids: list[str]) -> None:
    """Copies of a submitted run, each with a job of its own and a journal of 20 epochs."""
    original = cwd / "outputs" / "rd" / "0"
    for n, job_id in enumerate(job_ids):
        run = RunDirectory(cwd / "outputs" / "many" / f"{n:03}")
        shutil.copytree(original, run.path)
        events = run.events_file("epd", "train")
        append_event(events, "submitted", job_id=job_id, comment="", dependency=[], time_limit=None, max_attempts=20)
        append_event(events, "started", attempt=1, step=0, job_id=job_id, host="n1", pid=1, process_start="1")
        for epoch in range(1, 21):
            append_event(events, "epoch", epoch=epoch, step=10 * epoch, seconds=1.0, lr=1e-3)


def status_of_many(autocast: list[str], cwd: Path, env: dict[str, str]) -> tuple[list[float], list[str]]:
    """Seconds of `status`, and the calls of the scheduler that one of them makes."""
    log, fake = cwd / "calls", cwd / "counting"
    fake.mkdir()
    for name in ("squeue", "sacct", "scontrol", "sinfo"):
        (fake / name).write_text(COUNTING.format(name=name, log=log, program=shutil.which(name)))
        (fake / name).chmod(0o755)
    words = [*autocast, "status", "--all"]
    seconds(words, cwd, {**env, "PATH": f"{fake}{os.pathsep}{env['PATH']}"})
    return [seconds(words, cwd, env) for _ in range(N_TIMES)], log.read_text().split()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder)
        cluster = Cluster(cwd / "slurm")
        cluster.start()
        try:
            result = measure(cwd, {**cluster.env, "OMP_NUM_THREADS": "1"})
        finally:
            cluster.stop()
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(cwd: Path, env: dict[str, str]) -> dict[str, object]:
    autocast = [str(Path(sys.executable).with_name("autocast"))]
    make = [*autocast, "data", "simulate", "--dataset", "data", "simulator=reaction_diffusion", *TINY]
    subprocess.run(make, cwd=cwd, check=True, capture_output=True, env=env)
    times = submissions(autocast, cwd, env)
    script = bare_script(cwd)
    submit = [["sbatch", "--parsable", script] for _ in range(N_RUNS)]
    ids = [subprocess.run(one, cwd=cwd, check=True, capture_output=True, env=env, text=True).stdout for one in submit]
    make_runs(cwd, [job_id.strip() for job_id in ids])
    times["status_of_200_runs"], calls = status_of_many(autocast, cwd, env)
    medians = {name: statistics.median(values) for name, values in times.items()}
    more = medians["train_eval_detach"] - medians["two_bare_sbatch"]
    return {
        "claim": "train-eval --detach takes at most 1.0 s more than two bare sbatch calls; status over 200 runs takes "
        "less than 1 s and asks the scheduler at most twice",
        "holds": more <= 1.0 and medians["status_of_200_runs"] < 1.0 and len(calls) <= 2,
        "seconds_more_than_two_sbatch": round(more, 3),
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "scheduler_calls_of_status": calls,
        "run": {
            "n_times": N_TIMES,
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "slurm": subprocess.run(
                ["sbatch", "--version"], env=env, capture_output=True, text=True, check=True
            ).stdout.strip(),
            **{name: version(name) for name in ("submitit", "hydra-core", "typer")},
        },
    }


if __name__ == "__main__":
    main()
