"""Steps of variational autoencoders for those who have a loop of their own: the same terms and schedules, no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autocast.autoencoders.gaussian import DiagonalGaussian
from autocast.errors import ConfigError
from autocast.losses.annealing import Annealing, Constant, Cyclical, Linear, Number, Progress, Sigmoid
from autocast.losses.objective import ELBO, Objective
from autocast.losses.terms import ELEMENTWISE, KL, AbsoluteError, Coded, CrossEntropy, SquaredError, Term

RECONSTRUCTION = "recon"
LOSSES: dict[str, Callable[[], Term]] = {"mse": SquaredError, "mae": AbsoluteError, "bce": CrossEntropy}
"""By `loss_type`; "bce" takes probabilities."""

Metrics = dict[str, Tensor]
"""`loss`, `recon_loss`, `kl_loss` (unweighted) and `kl_weight`, without gradients."""
Batch = Tensor | Sequence[Tensor]
"""`(B, ...)`, alone or first of several, such as images and their labels."""
LossFunction = Callable[[nn.Module, Batch], tuple[Tensor, Metrics]]


@dataclass(frozen=True)
class VAETrainingConfig:
    """How the KL term is weighed.

    Raises:
        ConfigError: There is no such annealing, its cycle never turns the term on, or a number is negative.
    """

    kl_annealing: str = "linear"
    """"none", "linear", "sigmoid" or "cyclical"."""
    kl_warmup_steps: int = 10_000
    """Of "linear" and "sigmoid"."""
    beta: Number = 1.0
    """Weight in the end."""
    free_bits: Number = 0.0
    """Nats of every latent number that cost nothing."""
    cyclical_period: int = 10_000
    free_bits_mode: str = ELEMENTWISE
    """"elementwise", or "batch_mean" as in Kingma et al. (2016)."""

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ConfigError(f"beta={self.beta}: not negative is wanted.")
        KL(free_bits=self.free_bits, free_bits_mode=self.free_bits_mode)
        _ = self.annealing

    @property
    def annealing(self) -> Annealing:
        made: dict[str, Callable[[], Annealing]] = {
            "none": lambda: Constant(self.beta),
            "linear": lambda: Linear(self.beta, self.kl_warmup_steps),
            "sigmoid": lambda: Sigmoid(self.beta, self.kl_warmup_steps),
            "cyclical": lambda: Cyclical(self.beta, self.cyclical_period),
        }
        if self.kl_annealing not in made:
            raise ConfigError(f"kl_annealing={self.kl_annealing}: there are {', '.join(made)}.")
        return made[self.kl_annealing]()


class VAETrainer:
    """Steps of a variational autoencoder.

    Args:
        model: From `(B, ...)` to (reconstruction `(B, ...)`, mean, logvar), the last two of the same shape.
        optimizer: Of its parameters.
        config: How the KL term is weighed.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, config: VAETrainingConfig | None = None):
        self.model = model
        self.optimizer = optimizer
        self.config = config or VAETrainingConfig()

    def train_step(self, batch: Batch, *, step: int, loss_type: str = "mse") -> tuple[Tensor, Metrics]:
        """One step of the optimiser.

        Args:
            batch: `(B, ...)`, alone or first of several.
            step: Optimiser steps done, for the weight of the KL term.
            loss_type: One of `LOSSES`.

        Returns:
            The loss before the step, and what it is made of.

        Raises:
            ConfigError: There is no such `loss_type`.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, metrics = self.create_loss_fn(step=step, loss_type=loss_type)(self.model, batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), metrics

    def create_loss_fn(self, *, step: int, loss_type: str = "mse") -> LossFunction:
        """The loss at a step, `loss_fn(model, batch) -> (loss, metrics)`, for any loop; see `train_step`."""
        if loss_type not in LOSSES:
            raise ConfigError(f"loss_type={loss_type}: there are {', '.join(LOSSES)}.")
        config, progress = self.config, Progress(step)
        weight = config.annealing.at(progress)
        kl = KL(free_bits=config.free_bits, free_bits_mode=config.free_bits_mode)
        objective = Objective({RECONSTRUCTION: LOSSES[loss_type]()}, {RECONSTRUCTION: 1.0}, reduction=ELBO)

        def loss_fn(model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
            x = batch if isinstance(batch, Tensor) else batch[0]
            reconstruction, mean, logvar = model(x)
            coded = Coded(x, reconstruction, DiagonalGaussian(mean.unsqueeze(1), logvar.unsqueeze(1)))
            recon_loss = objective.measure(coded)[RECONSTRUCTION]
            kl_loss = kl.measure(coded).sum(1).mean()  # told whatever it weighs
            loss = recon_loss + weight * kl_loss
            told = {"loss": loss, "recon_loss": recon_loss, "kl_loss": kl_loss}
            return loss, {**{name: value.detach() for name, value in told.items()}, "kl_weight": torch.tensor(weight)}

        return loss_fn
