"""Networks compiled in place: names in state dicts stay, and copies of a compiled network are eager."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import torch
from torch import nn

from autocast.errors import ConfigError

CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of `torch.compile` that replay CUDA graphs on a GPU."""


class Network(nn.Module):
    """Tensors in, one tensor out, and called as a module: what is compiled as a whole."""


def networks_of(model: nn.Module) -> Iterator[Network]:
    """The networks of a model."""
    return (module for module in model.modules() if isinstance(module, Network))


def compile_networks(model: nn.Module, mode: str) -> None:
    """From now on the networks of a model are compiled when they are first called with inputs of some kind.

    Args:
        model: Itself not compiled: it draws, and calls its networks in its own order.
        mode: Of `torch.compile`.
    """
    for network in networks_of(model):
        compile_module(network, mode)


def compile_module(module: nn.Module, mode: str, *, fullgraph: bool = False) -> None:
    """Compiles the calls of one module whose output is a tensor; with `fullgraph` nothing in it may be left out.

    What a CUDA graph gives lies where its next replay writes: it is copied, since solvers and ensembles keep it.
    """
    module.compile(mode=mode, fullgraph=fullgraph)
    if mode in CUDA_GRAPHS:
        compiled = module._compiled_call_impl
        module._compiled_call_impl = lambda *inputs, **named: compiled(*inputs, **named).clone()  # type: ignore[misc]


def check_compiler(device: torch.device, key: str) -> None:
    """That there is what compilation for a device needs on this machine.

    Raises:
        ConfigError: There is not; `key` names what asked for it.
    """
    variable, language, usual = ("CC", "C", "gcc") if device.type == "cuda" else ("CXX", "C++", "g++")
    usual = {"gcc": "clang", "g++": "clang++"}[usual] if sys.platform == "darwin" else usual
    looked_for = os.environ.get(variable) or usual
    if shutil.which(looked_for) is None:
        raise ConfigError(
            f"{key}: torch compiles for {device.type} with a {language} compiler, and {looked_for} is not on this "
            f"machine. Install it (on a cluster: load its module), name another one in ${variable}, or leave {key} out."
        )
