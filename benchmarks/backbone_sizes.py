"""Parameters of every backbone at every size, for two channels in one, two and three dimensions.

    python benchmarks/backbone_sizes.py

Networks are built without memory for their weights. With `--time SIZE` one forward and backward pass at batch 1 on
64 x 64 points is timed too: CPU seconds, which other work on the machine changes little, the least of several.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from autocast.nn.backbone import Backbone
from autocast.nn.sizes import SIZES

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "backbone_sizes.json"
GRIDS = {"1d": (256,), "2d": (64, 64), "3d": (64, 64, 64)}
CONDITION_FEATURES = 32
LARGEST_FACTOR = 1.35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", choices=SIZES, help="a size whose training step is timed")
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--n-repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    options = sorted(path.stem for path in (ROOT / "configs" / "backbone").glob("*.yaml"))
    counts = {
        option: {dimensions: {size: count(option, size, grid) for size in SIZES} for dimensions, grid in GRIDS.items()}
        for option in options
    }
    factors = [n / SIZES[size] for tables in counts.values() for table in tables.values() for size, n in table.items()]
    result = {
        "claim": f"every size has its number of parameters within a factor of {LARGEST_FACTOR}",
        "holds": all(1 / LARGEST_FACTOR < factor < LARGEST_FACTOR for factor in factors),
        "targets": SIZES,
        "parameters": counts,
        "run": {
            "grids": GRIDS,
            "channels": 2,
            "condition_features": CONDITION_FEATURES,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    if arguments.time:
        result["cpu_seconds"] = {option: seconds(option, arguments.time, arguments.n_repeats) for option in options}
        result["run"] |= {"timed_size": arguments.time, "n_threads": arguments.n_threads, "cpu": cpu_model()}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(table(counts))


def count(option: str, size: str, grid_shape: tuple[int, ...]) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(option, size, grid_shape).parameters())


def seconds(option: str, size: str, n_repeats: int) -> float:
    """The least CPU time of a forward and a backward pass at batch 1."""
    backbone = build(option, size, GRIDS["2d"])
    x, condition = torch.randn(1, 2, *GRIDS["2d"]), torch.randn(1, CONDITION_FEATURES)
    times = []
    for _ in range(n_repeats):
        began = time.process_time()
        backbone(x, condition).square().mean().backward()
        times.append(time.process_time() - began)
    return round(min(times), 2)


def build(option: str, size: str, grid_shape: tuple[int, ...]) -> Backbone:
    periodic = (True,) * len(grid_shape)
    return instantiate(leaf_of(option, size), _convert_="all")(
        2, 2, grid_shape=grid_shape, periodic=periodic, condition_features=CONDITION_FEATURES
    )


def leaf_of(option: str, size: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        return compose(overrides=[f"+backbone@leaf={option}", f"+size={size}"]).leaf


def table(counts: dict[str, dict[str, dict[str, int]]]) -> str:
    """The plane's, in millions, as the documentation shows it."""
    lines = [f"| | {' | '.join(f'`{size}`' for size in SIZES)} |", "|---" * (1 + len(SIZES)) + "|"]
    for option, tables in counts.items():
        lines.append(f"| `{option}` | {' | '.join(map(millions, tables['2d'].values()))} |")
    return "\n".join(lines)


def millions(n: int) -> str:
    return f"{n / 1e6:.2f}" if n < 1e7 else f"{n / 1e6:.1f}"


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
