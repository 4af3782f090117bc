"""Compares compiled forecasts with eager ones: `python solves.py BACKEND NAME...` prints what it finds for each name.

A process of its own has no checks of shape annotations, which torch cannot compile.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._dynamo

from autocast.generative.noise import Noise
from autocast.generative.parametrisations import Edm
from autocast.generative.samplers import DDIM, AdamsBashforth2, AdamsBashforth3, Euler, Heun
from autocast.generative.schedules import Cosine
from autocast.nn.compilation import compile_module
from autocast.nn.vit import ViT
from autocast.processors.diffusion import Diffusion
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.processors.processor import Processor
from autocast.processors.residual import Residual
from autocast.types import Condition, EncodedSpec

SPEC = EncodedSpec(2, 3, 1, (8, 12), (True, False), n_scalars=1, n_constant_channels=1, boundary=("periodic", "wall"))
VIT = functools.partial(ViT, dim=8, depth=1, heads=2, patch_size=2)
SAMPLERS = {
    "euler": Euler(2),
    "heun": Heun(2),
    "ddim": DDIM(2, eta=1.0),
    "adams_bashforth2": AdamsBashforth2(3),
    "adams_bashforth3": AdamsBashforth3(4),
}
NOISED = functools.partial(
    Diffusion,
    backbone=VIT,
    sampler=DDIM(2, eta=1.0),
    schedule=Cosine(),
    parametrisation=Edm(),
    increment=False,
    noised_conditioning=True,
)
PROCESSORS: dict[str, Callable[[EncodedSpec], Processor]] = {
    **{name: functools.partial(FlowMatching, backbone=VIT, sampler=sampler) for name, sampler in SAMPLERS.items()},
    "diffusion": NOISED,
    "direct": functools.partial(Direct, backbone=VIT),
    "ensemble": functools.partial(Ensemble, backbone=VIT, noise_channels=1),
    "residual": functools.partial(Residual, prediction=functools.partial(Direct, backbone=VIT), correction=NOISED),
}


@torch.no_grad()
def compare(make: Callable[[EncodedSpec], Processor], n_rows: Sequence[int]) -> dict[str, Any]:
    """Forecasts of so many rows at a time: the largest error, whether noise goes on alike, and the number of graphs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    eager = make(SPEC).eval()
    for parameter in eager.parameters():  # away from networks that start at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    compiled = copy.deepcopy(eager)
    compile_module(compiled, "default", fullgraph=True)
    errors, alike = [], []
    for n in n_rows:
        x, condition = torch.randn(n, 3, 8, 12, 2), Condition(torch.rand(n, 1), torch.rand(n, 8, 12, 1))
        noises = [Noise([(0, row) for row in range(n)]) for _ in range(2)]
        forecasts = [p.sample(x, condition, noise) for p, noise in zip((eager, compiled), noises, strict=True)]
        errors.append(float((forecasts[0] - forecasts[1]).abs().max()))
        alike.append(torch.equal(*(noise.normal(3, like=x) for noise in noises)))
    n_graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return {"error": max(errors), "noise_alike": all(alike), "n_graphs": n_graphs}


def networks_in_graphs() -> list[int]:
    """Calls of the network in the graph of a solve in five steps, and networks that are compiled for them."""
    graphs = []

    def keep(graph: Any, inputs: Any, **options: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compile = functools.partial(torch.compile, backend=keep)  # type: ignore[assignment]
    compare(functools.partial(FlowMatching, backbone=VIT, sampler=Euler(5)), n_rows=[4])
    (graph,) = graphs
    calls = [node for node in graph.graph.nodes if node.target is torch.ops.higher_order.invoke_subgraph]
    return [len(calls), len({node.args[0].target for node in calls})]


def main(backend: str, names: Sequence[str]) -> None:
    plain = torch.compile
    torch.compile = functools.partial(plain, backend=backend)  # type: ignore[assignment]
    found: dict[str, Any] = {name: compare(PROCESSORS[name], n_rows=[4]) for name in names}
    found["batches"] = compare(PROCESSORS["direct"], n_rows=[5, 4, 3])
    torch.compile = plain
    print(json.dumps({**found, "networks": networks_in_graphs()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
