"""Networks that learn beside a model, from what it makes: their optimisers, and where these were left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from autocast.errors import CheckpointError, ConfigError
from autocast.generative.noise import Noise
from autocast.losses.objective import Adversary
from autocast.losses.terms import Coded
from autocast.nn.ranks import mean_over_ranks
from autocast.types import Batch

BETAS = (0.5, 0.9)
KEY = "adversaries"
"""Of a checkpoint."""


@runtime_checkable
class HasAdversaries(Protocol):
    """A model with networks that learn beside it, if there are any."""

    @property
    def adversaries(self) -> list[Adversary]: ...

    def contest(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Coded]:
        """The model's loss, and what adversaries learn from."""

    def teach(self, coded: Coded, share: float = 1.0) -> dict[str, Tensor]:
        """Adds to the gradients of adversaries what these frames teach, a share of an optimiser step's; what is logged
        of it."""


class Adversaries:
    """One Adam for each adversary, whose step is made after the model's.

    Their gradients are added up over the batches of an accumulation, and averaged over ranks, as the model's are.
    """

    def __init__(self, adversaries: Sequence[Adversary]) -> None:
        self._adversaries = list(adversaries)
        for adversary in adversaries:
            adversary.place()
        self._optimizers = [
            torch.optim.Adam(adversary.discriminator.parameters(), lr=adversary.learning_rate, betas=BETAS)
            for adversary in adversaries
        ]

    def step(self, rate: float, clip: float | None) -> None:
        """Changes those that have gradients.

        Args:
            rate: Times their own learning rates.
            clip: The largest norm of the gradient of each; None leaves it.
        """
        for adversary, optimizer in zip(self._adversaries, self._optimizers, strict=True):
            parameters = list(adversary.discriminator.parameters())
            if all(parameter.grad is None for parameter in parameters):
                continue
            for parameter in parameters:
                if parameter.grad is not None:
                    mean_over_ranks(parameter.grad)
            if clip:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.param_groups[0]["lr"] = rate * adversary.learning_rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Raises CheckpointError if there were others."""
        if len(states) != len(self._optimizers):
            raise CheckpointError(
                f"the checkpoint has optimisers of {len(states)} discriminators, the objective has "
                f"{len(self._optimizers)}. Start a new run from the weights: --init-from RUN."
            )
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def check_adversaries(precision: str, adversaries: Sequence[Adversary], *, is_sharded: bool) -> None:
    """Raises ConfigError where they cannot be trained in this way."""
    if not adversaries:
        return
    if precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision={precision}: the gradients of a discriminator are not scaled, as half "
            "precision needs it. Set trainer.precision=bf16-mixed."
        )
    if is_sharded:
        raise ConfigError(
            "trainer.strategy: a discriminator cannot be sharded. Set trainer=default, or choose an objective without "
            "an adversarial term."
        )
