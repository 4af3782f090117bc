"""Time and exactness of the CRPS over the number of members.

The sum over pairs of members is taken over the sorted members, so 8 times the members should cost hardly more than 8
times the time, where a double sum costs 64 times. Every member is a tensor of the same size; both are timed in turns
in one process, forward and with the backward pass, and compared with the double sum in double precision:

    python benchmarks/crps_members.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from autocast.losses.ensemble import crps

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "crps_members.json"
FEW, MANY = 32, 256
LIMIT, TOLERANCE = 20, 1e-6
ALPHA = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--n-repeats", type=int, default=15, help="timings of each, in turns")
    parser.add_argument("--n-points", type=int, default=64 * 64, help="numbers in a member")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    rows = [
        compare(score, backward=backward, n_points=arguments.n_points, n_repeats=arguments.n_repeats)
        for score in (crps, double_sum)
        for backward in (False, True)
    ]
    errors = {f"alpha {alpha}": largest_error(alpha) for alpha in (0.0, ALPHA, 1.0)}
    result = {
        "claim": f"{MANY} members take at most {LIMIT} times as long as {FEW}, and the score is the double sum's to "
        f"{TOLERANCE}",
        "holds": all(row["ratio"] <= LIMIT for row in rows if row["score"] == "crps")
        and max(errors.values()) <= TOLERANCE,
        "measurements": rows,
        "largest_error_against_double_sum": errors,
        "run": {
            "n_threads": arguments.n_threads,
            "n_repeats": arguments.n_repeats,
            "n_points": arguments.n_points,
            "platform": platform.system(),
            "cpu": cpu_model(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def double_sum(members: Tensor, truth: Tensor, alpha: float) -> Tensor:
    """The definition, one member against all at a time, so that memory stays that of the members."""
    n_members = members.shape[1]
    error = (members - truth.unsqueeze(1)).abs().mean(dim=1)
    pairs = sum((members - member.unsqueeze(1)).abs().sum(dim=1) for member in members.unbind(1))
    return error - (1 - (1 - alpha) / n_members) / (2 * n_members * (n_members - 1)) * pairs


def compare(
    score: Callable[[Tensor, Tensor, float], Tensor], *, backward: bool, n_points: int, n_repeats: int
) -> dict[str, object]:
    """Median times for few and for many members, in milliseconds, and their ratio."""
    calls = [make_call(score, n_members, n_points, backward=backward) for n_members in (FEW, MANY)]
    seconds: list[list[float]] = [[], []]
    for _ in range(n_repeats + 2):
        for call, times in zip(calls, seconds, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    few, many = (1e3 * statistics.median(times[2:]) for times in seconds)
    return {
        "score": score.__name__,
        "pass": "forward and backward" if backward else "forward",
        f"ms_{FEW}": round(few, 3),
        f"ms_{MANY}": round(many, 3),
        "ratio": round(many / few, 2),
    }


def make_call(
    score: Callable[[Tensor, Tensor, float], Tensor], n_members: int, n_points: int, *, backward: bool
) -> Callable[[], None]:
    members, truth = draw(n_members, n_points)
    members.requires_grad_(backward)

    def call() -> None:
        loss = score(members, truth, ALPHA).mean()
        if backward:
            torch.autograd.grad(loss, members)

    return call


def largest_error(alpha: float) -> float:
    """Of the score in single precision, at both numbers of members, against the double sum in double precision."""
    errors = []
    for n_members in (FEW, MANY):
        members, truth = draw(n_members, 4096)
        expected = double_sum(members.double(), truth.double(), alpha)
        errors.append(float((crps(members, truth, alpha) - expected).abs().max()))
    return max(errors)


def draw(n_members: int, n_points: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n_members)
    return torch.randn(1, n_members, n_points, generator=generator), torch.randn(1, n_points, generator=generator)


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
