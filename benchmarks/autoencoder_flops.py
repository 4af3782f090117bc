"""What the decoder of every shipped pair costs over its encoder, and what both cost at all.

Floating-point operations and parameters of every encoder and every decoder that decodes it, at full size, in one to
three dimensions with two channels. Nothing is computed: the networks live on the meta device.

    python benchmarks/autoencoder_flops.py
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from autocast.autoencoders.encoder import Encoder
from autocast.errors import ConfigError
from autocast.types import FieldSpec

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "autoencoder_flops.json"
LIMIT = 1.3
GRIDS = ((256,), (64, 64), (32, 32, 32))
MIRROR = "mirror"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    encoders = options("encoder")
    decoders = {MIRROR: lambda encoder: encoder.mirror(), **options("decoder")}
    rows = [row for grid in GRIDS for name in encoders for row in measure(name, encoders[name], decoders, grid)]
    ratios = [row["decoder_over_encoder"] for row in rows if row["decoder_over_encoder"] is not None]
    result = {
        "claim": f"the decoder of every shipped pair costs at most {LIMIT} times its encoder, and the other way round",
        "holds": all(1 / LIMIT <= ratio <= LIMIT for ratio in ratios),
        "largest_ratio": max(ratios),
        "smallest_ratio": min(ratios),
        "pairs": rows,
        "torch": torch.__version__,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def options(group: str) -> dict[str, Callable[..., Any]]:
    files = sorted((ROOT / "configs" / group).glob("*.yaml"))
    return {file.stem: instantiate(yaml.safe_load(file.read_text()), _convert_="all") for file in files}


def measure(
    name: str, make: Callable[[FieldSpec], Encoder], decoders: dict[str, Callable[..., Any]], grid: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One row for every decoder that decodes this encoder."""
    spec, rows = spec_of(grid), []
    with torch.device("meta"):
        encoder = make(spec)
        x = torch.randn(1, 1, *grid, spec.n_channels)
        z = encoder.encode(x)
        down = flops(functools.partial(encoder.encode, x))
        for decoder_name, make_decoder in decoders.items():
            try:
                decoder = make_decoder(encoder)
            except ConfigError:  # of another kind
                continue
            up = flops(functools.partial(decoder.decode, z))
            rows.append({
                "grid_shape": list(grid),
                "encoder": name,
                "decoder": decoder_name,
                "encoder_parameters": n_parameters(encoder),
                "decoder_parameters": n_parameters(decoder),
                "encoder_mflops_per_frame": round(down / 1e6, 3),
                "decoder_mflops_per_frame": round(up / 1e6, 3),
                "decoder_over_encoder": round(up / down, 4) if down else None,
                "compression": round(x.numel() / z.numel(), 3),
            })  # fmt: skip
    return rows


def spec_of(grid: tuple[int, ...]) -> FieldSpec:
    n = len(grid)
    return FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y", "z")[:n], grid, (1.0,) * n, ("periodic",) * n, 0.1)


def flops(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def n_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


if __name__ == "__main__":
    main()
