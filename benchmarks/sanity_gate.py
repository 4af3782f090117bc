"""What the sanity gate catches, what it lets through, and how long it takes.

Four defects are planted in the second block of the shipped Fourier neural operator; every shipped processor and
backbone must pass as it is. Fields are two channels of 64 x 64, everything on the CPU:

    python benchmarks/sanity_gate.py            # size s; --size l for 80 million parameters
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from autocast.assembly import assemble_autoencoder, assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.nn.fno import FNO, FourierBlock
from autocast.processors.direct import Direct
from autocast.training.gate.gate import check_model
from autocast.training.gate.report import GateReport
from autocast.types import Batch, FieldSpec

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
RESULT = ROOT / "benchmarks" / "results" / "sanity_gate.json"
GRID = (64, 64)
SPEC = FieldSpec("waves", ("u", "v"), ("", ""), ("x", "y"), GRID, (1.0, 1.0), ("periodic", "periodic"), 0.1)
LIMIT = 10.0
EXPECTED = {
    "dead block": {"gradients", "every block matters"},
    "detached branch": {"gradients"},
    "NaN at initialisation": {"finite at the start"},
    "cancellation in bf16": {"bf16 agrees with fp32"},
}
"""The checks that must fail, and no other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="s")
    parser.add_argument("--n-threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of what is to be checked; all by default")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    subjects: dict[str, Callable[[], Any]] = {
        **{name: functools.partial(defective, name, arguments.size) for name in EXPECTED},
        **{
            f"processor {name}": functools.partial(shipped, "processor", name, arguments.size)
            for name in options("processor")
        },
        **{
            f"backbone {name}": functools.partial(shipped, "backbone", name, arguments.size)
            for name in options("backbone")
        },
        "autoencoder dc": autoencoder,
    }
    rows = [measure(name, make) for name, make in subjects.items() if not arguments.only or name in arguments.only]
    result = {
        "claim": f"four planted defects are caught, each within {LIMIT:g} s; what is shipped passes ({arguments.size})",
        "holds": all(row["as_expected"] for row in rows)
        and all(row["seconds"] <= LIMIT for row in rows if row["model"] in EXPECTED),
        "measurements": rows,
        "run": {
            "size": arguments.size,
            "n_threads": arguments.n_threads,
            "grid": list(GRID),
            "cpu": cpu_model(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """What the gate says of a model, in seconds of the wall clock and of all processors together."""
    model = make()
    began = time.process_time()
    report: GateReport = check_model(model, waves(), periodic=SPEC.periodic)
    failed = {found.check for found in report.of("failed")}
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "failed": sorted(failed),
        "as_expected": failed == EXPECTED.get(name, set()),
        "seconds": round(report.seconds, 2),
        "cpu_seconds": round(time.process_time() - began, 2),
        "checks": {found.check: [found.result, found.figure, round(found.seconds, 2)] for found in report.results},
    }


class DefectiveBlock(FourierBlock):
    """A block with one of the planted defects."""

    defect = ""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = (v.reshape(*v.shape, *[1] * (x.ndim - 2)) for v in self.modulation(condition))
        h = torch.addcmul(shift, self.norm(x), scale)
        local, spectral = self.local(h), self.spectral(h)
        match self.defect:
            case "dead block":
                return x + self.out(F.gelu(local))
            case "detached branch":
                return x + self.out(F.gelu(spectral.detach() + local))
            case "cancellation in bf16":
                return x + self.out(F.gelu(spectral + ((local + 2000) - 2000)))
        return x + self.out(F.gelu(spectral + local))


def defective(defect: str, size: str) -> Any:
    model = emulator(functools.partial(Direct, backbone=functools.partial(FNO, size=size)))
    block = model.processor.backbone.blocks[1]
    block.__class__ = DefectiveBlock
    block.defect = defect
    if defect == "NaN at initialisation":
        block.out.convolution.weight.data[0, 0] = float("nan")
    return model


def shipped(group: str, option: str, size: str) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        leaf = compose(overrides=[f"+{group}@leaf={option}", f"+size={size}"]).leaf
    part = instantiate(leaf, _convert_="all")
    return emulator(part if group == "processor" else functools.partial(Direct, backbone=part))


def autoencoder() -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        encoder = instantiate(compose(overrides=["+encoder@leaf=dc"]).leaf, _convert_="all")
    torch.manual_seed(0)
    return assemble_autoencoder(encoder, IdentityBottleneck, spec=SPEC, normaliser=Normaliser.identity(2))


def emulator(processor: Callable[..., Any]) -> Any:
    torch.manual_seed(0)
    return assemble_emulator(
        IdentityEncoder,
        IdentityBottleneck,
        processor,
        spec=SPEC,
        normaliser=Normaliser.identity(2),
        n_steps_input=1,
        n_steps_output=1,
    )


def waves(n_rows: int = 4) -> Batch:
    """Smooth random fields of variance 1, and what they are after a step along another one."""
    generator = torch.Generator().manual_seed(0)
    wavenumbers = torch.fft.fftfreq(GRID[0], 1 / GRID[0])
    decay = torch.exp(-(wavenumbers[:, None] ** 2 + wavenumbers**2) / 6**2)[..., None]
    drawn = torch.randn(2, n_rows, 1, *GRID, 2, generator=generator)
    now, change = torch.fft.ifft2(torch.fft.fft2(drawn, dim=(3, 4)) * decay, dim=(3, 4)).real
    now, change = now / now.std(), change / change.std()
    return Batch(now, now + change)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
