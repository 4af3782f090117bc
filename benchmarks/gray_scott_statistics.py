"""Gray-Scott by The Well's specification: do the statistics agree with the published ones?

Simulates the same number of trajectories of each pair (F, k) and each kind of initial fields and compares the mean and
the standard deviation of A and B over all points, frames and trajectories with The Well's `stats.yaml`. The interval is
a bootstrap over trajectories, stratified by pair. Finished trajectories are kept in a file, and the script continues
where it was stopped:

    python benchmarks/gray_scott_statistics.py --per-pair 16
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from autocast.simulators.gray_scott import KINDS, GrayScott

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "simulator" / "gray_scott_the_well.yaml"
RESULT = ROOT / "benchmarks" / "results" / "gray_scott_statistics.json"
PUBLISHED = {
    "mean": (0.7292278198939537, 0.09658732411527811),
    "std": (0.23988766176449502, 0.12366442840472759),
    "std_delta": (0.01849132037979648, 0.011279773536717152),
}
"""For A and B; The Well, datasets/gray_scott_reaction_diffusion/stats.yaml (training split)."""
N_RESAMPLES = 20_000


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.n_threads)
    simulator = the_well()
    seeds = range(arguments.per_pair * len(simulator.feed_kill))
    arguments.cache.parent.mkdir(parents=True, exist_ok=True)
    simulate_missing(simulator, seeds, arguments)
    records = read_records(arguments.cache, arguments.precision)
    result = summarise(simulator, [records[seed] for seed in seeds])
    result["run"] = describe_run(arguments, [records[seed] for seed in seeds])
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-pair", type=int, default=16, help="trajectories of each (F, k), half of each kind")
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "gray_scott_statistics.jsonl")
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def the_well() -> GrayScott:
    config = yaml.safe_load(CONFIG.read_text())
    return GrayScott(**{key: value for key, value in config.items() if key != "_target_"})


def simulate_missing(simulator: GrayScott, seeds: range, arguments: argparse.Namespace) -> None:
    """Append a line of moments for each trajectory that the cache does not have yet."""
    missing = [seed for seed in seeds if seed not in read_records(arguments.cache, arguments.precision)]
    for start in range(0, len(missing), arguments.batch_size):
        batch = missing[start : start + arguments.batch_size]
        began = time.perf_counter()
        fields = simulator.simulate(batch, dtype=getattr(torch, arguments.precision)).check().fields.numpy()
        seconds = (time.perf_counter() - began) / len(batch)
        with arguments.cache.open("a") as file:
            for seed, trajectory in zip(batch, fields, strict=True):
                record = {"seed": seed, "precision": arguments.precision, "seconds": seconds, **moments(trajectory)}
                file.write(json.dumps(record) + "\n")
        print(f"{start + len(batch)} of {len(missing)} missing trajectories, {seconds:.1f} s each", flush=True)


def moments(trajectory: np.ndarray) -> dict[str, list[float]]:
    """First and second moments of the fields `(T, *S, C)` and of the differences of consecutive frames."""
    x = trajectory.astype(np.float64)
    delta = np.diff(x, axis=0)
    axes = (0, 1, 2)
    return {
        "first": x.mean(axes).tolist(),
        "second": np.square(x).mean(axes).tolist(),
        "first_delta": delta.mean(axes).tolist(),
        "second_delta": np.square(delta).mean(axes).tolist(),
        "final_std": x[-1].std((0, 1)).tolist(),
    }


def read_records(cache: Path, precision: str) -> dict[int, dict]:
    """The cached trajectories by seed; a line cut off by a kill is skipped."""
    records = {}
    for line in cache.read_text().splitlines() if cache.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["precision"] == precision:
            records[record["seed"]] = record
    return records


def summarise(simulator: GrayScott, records: list[dict]) -> dict:
    """The statistics, their bootstrap intervals, and whether the published ones lie inside."""
    names = ("first", "second", "first_delta", "second_delta")
    table = np.stack([[record[name] for name in names] for record in records])  # (trajectory, moment, channel)
    pairs = np.array([simulator.feed_kill.index(simulator.case(record["seed"])[0]) for record in records])
    point = statistics(table.mean(axis=0))
    resampled = statistics(bootstrap(table, pairs))
    rows = [
        compare(f"{name}_{channel}", point[name][c], resampled[name][:, c], PUBLISHED[name][c])
        for name in PUBLISHED
        for c, channel in enumerate(simulator.channel_names)
    ]
    required = [row for row in rows if not row["statistic"].startswith("std_delta")]
    return {
        "claim": "published mean and std lie in the 99 % interval and its half-width is at most 10 %",
        "holds": all(row["inside"] and row["relative_half_width"] <= 0.1 for row in required),
        "statistics": rows,
        "by_case": by_case(simulator, records),
    }


def bootstrap(table: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Means of trajectories drawn with replacement within each stratum, every stratum weighing the same."""
    rng = np.random.default_rng(0)
    means = []
    for stratum in np.unique(strata):
        rows = table[strata == stratum]
        draws = rng.integers(len(rows), size=(N_RESAMPLES, len(rows)))
        means.append(rows[draws].mean(axis=1))
    return np.mean(means, axis=0)


def statistics(mean_moments: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, std and std of the differences, `(..., C)`, from moments `(..., 4, C)`."""
    first, second, first_delta, second_delta = np.moveaxis(mean_moments, -2, 0)
    return {
        "mean": first,
        "std": np.sqrt(second - first**2),
        "std_delta": np.sqrt(second_delta - first_delta**2),
    }


def compare(statistic: str, value: float, resampled: np.ndarray, published: float) -> dict:
    low, high = np.quantile(resampled, [0.005, 0.995])
    return {
        "statistic": statistic,
        "value": float(value),
        "interval_99": [float(low), float(high)],
        "published": published,
        "inside": bool(low <= published <= high),
        "relative_half_width": float((high - low) / 2 / published),
    }


def by_case(simulator: GrayScott, records: list[dict]) -> list[dict]:
    """Mean and final std of A and B for each pair and kind, to see where a difference comes from."""
    rows = []
    for pair in simulator.feed_kill:
        for kind in KINDS:
            chosen = [record for record in records if simulator.case(record["seed"]) == (pair, kind)]
            row = {"F_k": pair, "initial": kind, "n_trajectories": len(chosen)}
            for name, key in (("mean", "first"), ("final_std", "final_std")):
                row[name] = np.mean([record[key] for record in chosen], axis=0).round(5).tolist()
            rows.append(row)
    return rows


def describe_run(arguments: argparse.Namespace, records: list[dict]) -> dict:
    return {
        "n_trajectories": len(records),
        "per_pair": arguments.per_pair,
        "precision": arguments.precision,
        "seconds_per_trajectory": float(np.median([record["seconds"] for record in records])),
        "n_threads": arguments.n_threads,
        "n_resamples": N_RESAMPLES,
        "platform": platform.system(),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
