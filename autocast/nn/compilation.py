"""Networks compiled in place: names in state dicts stay, and copies of a compiled network are eager."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from autocast.errors import ConfigError

CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of `torch.compile` that replay CUDA graphs on a GPU."""


class Network(nn.Module):
    """Tensors in, one tensor out, and called as a module: what is compiled as a whole."""


def networks_of(model: nn.Module) -> Iterator[Network]:
    """The networks of a model."""
    return (module for module in model.modules() if isinstance(module, Network))


def compile_networks(model: nn.Module, mode: str | None) -> None:
    """From now on the networks of a model are compiled when they are first called with inputs of some kind.

    Args:
        model: Itself not compiled: it draws, and calls its networks in its own order.
        mode: Of `torch.compile`; None makes them eager again.
    """
    for network in networks_of(model):
        compile_module(network, mode)


def compile_module(module: nn.Module, mode: str | None, *, fullgraph: bool = False) -> None:
    """Compiles the calls of one module whose output is a tensor; with `fullgraph` nothing in it may be left out.

    What a CUDA graph gives lies where its next replay writes: it is copied, since solvers and ensembles keep it.
    """
    if mode is None:
        module._compiled_call_impl = None
        return
    module.compile(mode=mode, fullgraph=fullgraph)
    if mode in CUDA_GRAPHS:
        compiled = module._compiled_call_impl
        module._compiled_call_impl = lambda *inputs, **named: compiled(*inputs, **named).clone()  # type: ignore[misc]


@torch.compiler.nested_compile_region
def call_again(network: nn.Module, *inputs: Tensor) -> Tensor:
    """`network(*inputs)`; where that is compiled along with what calls it many times, it is compiled once."""
    return network(*inputs)


def has_compiler(device: torch.device) -> bool:
    """Whether there is what compilation for a device needs on this machine."""
    return shutil.which(_compiler(device)) is not None


def check_compiler(device: torch.device, key: str) -> None:
    """Raises ConfigError where `has_compiler` is false; `key` names what asked for it."""
    if not has_compiler(device):
        variable, language = _wanted(device)
        raise ConfigError(
            f"{key}: torch compiles for {device.type} with a {language} compiler, and {_compiler(device)} is not on "
            f"this machine. Install it (on a cluster: load its module), name another one in ${variable}, or leave "
            f"{key} out."
        )


def _compiler(device: torch.device) -> str:
    variable, language = _wanted(device)
    gnu, clang = ("gcc", "clang") if language == "C" else ("g++", "clang++")
    return os.environ.get(variable) or (clang if sys.platform == "darwin" else gnu)


def _wanted(device: torch.device) -> tuple[str, str]:
    """The variable that names the compiler, and its language: Triton's is C."""
    return ("CC", "C") if device.type == "cuda" else ("CXX", "C++")
