"""Calls of a network's modules, watched or tampered with while they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from autocast.losses.objective import Objective

Watch = Callable[[str, int, Any], Any]
"""Gets the module's name, the depth of the call (0 is called by no other module) and its output; what it returns
replaces the output, unless it is None."""


@contextmanager
def watched(network: nn.Module, watch: Watch) -> Iterator[None]:
    """Inside, `watch` hears of every call of a module of `network` when it ends; not of what an objective calls."""
    open_calls: list[str] = []
    judges = [module for module in network.modules() if isinstance(module, Objective)]

    def enter(name: str) -> Callable[..., None]:
        return lambda module, arguments: open_calls.append(name)  # noqa: ARG005

    def leave(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:  # noqa: ARG001
            open_calls.pop()
            is_judged = any(judge.is_measuring for judge in judges)
            return None if is_judged else watch(name, len(open_calls), output)

        return hook

    handles = []
    try:
        for name, module in network.named_modules():
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def output_changed(module: nn.Module, change: Callable[[Tensor], Tensor], calls: list[str]) -> Iterator[None]:
    """Inside, the module gives other numbers; `calls` grows with every call of it."""

    def hook(module: nn.Module, arguments: Any, output: Any) -> Any:  # noqa: ARG001
        calls.append(type(module).__name__)
        return _map(output, change)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of numbers in what a module gives."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() or output.is_complex() else []
    if isinstance(output, dict):
        output = list(output.values())
    return [tensor for part in output for tensor in tensors_of(part)] if isinstance(output, list | tuple) else []


def _map(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, Tensor):
        return change(output) if output.is_floating_point() or output.is_complex() else output
    if isinstance(output, dict):
        return {key: _map(part, change) for key, part in output.items()}
    if isinstance(output, list | tuple):
        parts = [_map(part, change) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output
