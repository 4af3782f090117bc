"""Weights that others have published, read from files that the user gives."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from autocast.errors import ConfigError

Made = TypeVar("Made", bound=nn.Module)
MOST_TOLD = 4
"""Problems of a file that are told one by one."""


def read_tensors(files: Sequence[str | Path]) -> dict[str, Tensor]:
    """The tensors of some `.pth` files together, in single precision on the CPU; nothing in them is executed.

    Raises:
        ConfigError: A file is missing, or holds no named tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in map(Path, files):
        tensors |= _read(file.expanduser())
    return {name: tensor.float() for name, tensor in tensors.items()}


def make_published(make: Callable[[], Made], tensors: Mapping[str, Tensor], source: str) -> Made:
    """A network with published weights, frozen and in the mode of evaluation; tensors that it has no use for are left.

    Args:
        make: The network; no random number is drawn for it.
        tensors: By the network's names.
        source: Names the files in messages.

    Raises:
        ConfigError: A tensor is missing or has another shape.
    """
    with torch.device("meta"):
        network = make()
    wanted = network.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, {tuple(value.shape)} is wanted"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        more = f" (and {len(problems) - MOST_TOLD} more)" if len(problems) > MOST_TOLD else ""
        raise ConfigError(
            f"{source} does not hold the weights of {type(network).__name__}: {'; '.join(problems[:MOST_TOLD])}{more}."
        )
    network.load_state_dict({name: tensors[name] for name in wanted}, assign=True)
    return network.requires_grad_(False).eval()


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file.")
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}).") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:  # torch advises to execute what is in it
        raise ConfigError(f"{file}: not a file of weights that torch.save has written, or not all of it.") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"{file}: named tensors are wanted, as torchvision's vgg16-397923af.pth has them.")
    return dict(found)
