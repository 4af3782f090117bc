"""A training that starts from the weights of another model, which may differ in parts that are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autocast.assembly import load_weights, read_checkpoint
from autocast.errors import CheckpointError, ConfigError

JUDGES = ("objective",)
"""What is no part of the model in use."""
HOW = "Name with init.rename, init.leave and init.fresh what is called differently, left out or new."


@dataclass(frozen=True)
class WeightNames:
    """How the weights of a checkpoint and those of a model correspond.

    A name stands for the weight of that name and for all below it, as in `processor.backbone`.
    """

    rename: Sequence[Sequence[str]] = ()
    """Pairs: a name in the checkpoint, and what it is called in the model."""
    leave: Sequence[str] = ()
    """Names in the checkpoint that are not taken over."""
    fresh: Sequence[str] = ()
    """Names in the model that keep what they have; what the checkpoint has of that name is not taken over."""

    def __post_init__(self) -> None:
        if any(len(pair) != 2 for pair in self.rename):
            raise ConfigError(f"init.rename={self.rename}: pairs [name in the checkpoint, name in the model].")

    def translated(self, found: dict[str, Any]) -> dict[str, Any]:
        """Weights of a checkpoint by their names in the model."""
        kept = {name: value for name, value in found.items() if not _is_below(name, self.leave)}
        renamed = {self._renamed(name): value for name, value in kept.items()}
        return {name: value for name, value in renamed.items() if not _is_below(name, self.fresh)}

    def problems(self, found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
        """What names nothing, and what would be taken over twice."""
        in_checkpoint = [*(old for old, _ in self.rename), *self.leave]
        lost = [f"{name} names nothing in the checkpoint" for name in in_checkpoint if not _has(found, name)]
        lost += [f"{name} names nothing in the model" for name in self.fresh if not _has(wanted, name)]
        taken = [name for name in found if not _is_below(name, self.leave)]
        counts = Counter(self._renamed(name) for name in taken)
        return lost + [f"{name} would be taken over twice" for name, n in counts.items() if n > 1]

    def _renamed(self, name: str) -> str:
        for old, new in self.rename:
            if _is_below(name, [old]):
                return new + name[len(old) :]
        return name


def init_weights(model: nn.Module, file: Path, names: WeightNames = WeightNames()) -> None:
    """Puts the (averaged) weights of a checkpoint into a model that may differ from its own as `names` says.

    An objective's own weights, those of a discriminator, are taken over if they are the same ones, else left alone: the
    model is trained for something else then.

    Raises:
        CheckpointError: A weight is missing, left over or of another shape, or a name names nothing.
    """
    prefix = "model."
    saved: dict[str, Tensor] = read_checkpoint(file)["state_dict"]
    found = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
    wanted = model.state_dict()
    if problems := names.problems(found, wanted):
        raise CheckpointError(f"{file}: {'; '.join(problems)}.")
    translated = names.translated(found)
    fresh = {name: value for name, value in wanted.items() if _is_below(name, names.fresh)}
    if not _agree(translated, wanted, JUDGES):
        translated = {name: value for name, value in translated.items() if not _is_below(name, JUDGES)}
        fresh |= {name: value for name, value in wanted.items() if _is_below(name, JUDGES)}
    taken = {prefix + name: value for name, value in {**translated, **fresh}.items()}
    try:
        load_weights(model, {"state_dict": taken}, file)
    except CheckpointError as error:
        raise CheckpointError(f"{error} {HOW}") from None


def _agree(found: dict[str, Tensor], wanted: dict[str, Tensor], below: Sequence[str]) -> bool:
    """Whether the weights below some names are of the same names and shapes."""
    shapes = [{name: x.shape for name, x in weights.items() if _is_below(name, below)} for weights in (found, wanted)]
    return shapes[0] == shapes[1]


def _is_below(name: str, names: Sequence[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)


def _has(weights: dict[str, Any], name: str) -> bool:
    return any(_is_below(weight, [name]) for weight in weights)
