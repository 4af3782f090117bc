"""The adversarial term: a discriminator learns to tell reconstructions from fields, and the autoencoder to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.layout import frames_to_images
from autocast.losses.annealing import Number
from autocast.losses.terms import MEAN, Coded, Reconstructing, Term, named_device
from autocast.nn.ranks import mean_over_ranks
from autocast.types import FieldSpec

MOST_FACTOR = 1e4
SMALLEST_NORM = 1e-4


@dataclass(frozen=True)
class Game:
    """What the two sides of a GAN minimise, from the discriminator's outputs."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Of outputs for real and for fake data: a number."""
    generator: Callable[[Tensor], Tensor]
    """Of outputs for fake data: a number for each."""


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _least_squares(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def _entropy(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


GAMES = {
    "hinge": Game(_hinge, torch.neg),
    "lsgan": Game(_least_squares, lambda fake: (fake - 1).square()),
    "vanilla": Game(_entropy, lambda fake: F.softplus(-fake)),
}
"""Geometric GAN (Lim & Ye, 2017, arXiv:1705.02894), LSGAN (Mao et al., 2016, arXiv:1611.04076), and the non-saturating
game of Goodfellow et al. (2014, arXiv:1406.2661)."""


class Adversarial(Term):
    """How well a discriminator of patches sees through reconstructions.

    The discriminator is a part of the term, and so of checkpoints, but no parameter of it requires a gradient outside
    `learn`: the autoencoder's steps leave it alone. Before the term has a weight it is not trained either: let the
    weight begin late (`Delayed`). Validation leaves the term out, for what it means changes with the discriminator.

    Args:
        discriminator: Made of the number of channels and, by name, the `grid_shape` and which axes are `periodic`; from
            images `(N, C, *S)` to a number for every patch, above 0 where it takes it for real.
        loss: "hinge", "lsgan" or "vanilla".
        adaptive: Whether the term is weighed by the ratio of the gradients that the other terms and this one have in
            the decoder's last layer, so that its weight is their share.
        r1: Weight of the squared gradient of the discriminator with respect to fields, half of which is added to its
            loss; 0 is without.
        learning_rate: Of the discriminator's Adam, with betas .5 and .9; it follows the schedule of the autoencoder's.
        device: Where the discriminator is; None is where the fields are.

    References:
        | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2020) | https://arxiv.org/abs/2012.09841
        | Which Training Methods for GANs do actually Converge?, R1 (Mescheder et al., 2018)
        | https://arxiv.org/abs/1801.04406
    """

    reduction: ClassVar[str | None] = MEAN
    keeps_meaning: bool = False

    def __init__(
        self,
        discriminator: Callable[..., nn.Module],
        *,
        loss: str = "hinge",
        adaptive: bool = True,
        r1: Number = 0,
        learning_rate: float = 1e-4,
        device: str | None = None,
    ):
        super().__init__()
        if loss not in GAMES:
            raise ConfigError(f"the adversarial term: loss={loss}: there are {', '.join(GAMES)}.")
        if r1 < 0 or learning_rate <= 0:
            raise ConfigError(
                f"the adversarial term: r1={r1}, learning_rate={learning_rate}: r1 is not negative, and "
                "the rate is more than 0."
            )
        self.make_discriminator = discriminator
        self.loss = loss
        self.adaptive = adaptive
        self.r1 = r1
        self.learning_rate = learning_rate
        self.device = None if device is None else named_device("the adversarial term: device", device)
        self._last_weight: tuple[nn.Parameter, ...] = ()
        self._patch: int | None = None
        """Points along an axis that an output of the discriminator sees, where that says so."""

    @property
    def detail(self) -> str:
        return self.loss if self._patch is None else f"{self.loss}, patches of {self._patch}"

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        """Makes the discriminator of fields like these.

        Raises:
            ConfigError: The grid is too small for it, or there is no layer to weigh gradients in.
        """
        last = autoencoder.decoder.last_weight
        if self.adaptive and last is None:
            raise ConfigError(
                f"the adversarial term: adaptive=true: {type(autoencoder.decoder).__name__} has no layer in which "
                "gradients could be weighed. Set adaptive=false."
            )
        self._last_weight = () if last is None else (last,)  # in a tuple it is not registered as a parameter
        made = self.make_discriminator(spec.n_channels, grid_shape=spec.grid_shape, periodic=spec.periodic)
        self.discriminator = made.requires_grad_(False)
        self._patch = getattr(made, "receptive_field", None)

    def place(self) -> None:
        if self.device is None:
            return
        try:
            self.discriminator.to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise ConfigError(
                f"the adversarial term: device={self.device}: {str(error).splitlines()[0]}. Give a device that is "
                "there, or null for that of the fields."
            ) from error

    def measure(self, coded: Coded) -> Float[Tensor, "n 1 *p"]:
        return GAMES[self.loss].generator(self._judge(coded.reconstruction))

    def factor(self, others: Tensor, own: Tensor) -> Tensor | Number:
        """The ratio of the norms of the two gradients in the decoder's last weight, at most 10⁴; 1 where it is not
        wanted, or there are no gradients.

        The gradients are those of all ranks together, but of the windows at hand: where a batch is computed in pieces,
        each has its own factor.
        """
        if not (self.adaptive and others.requires_grad and own.requires_grad):
            return 1
        gradients = [torch.autograd.grad(loss, self._last_weight, retain_graph=True)[0] for loss in (others, own)]
        numerator, denominator = (mean_over_ranks(gradient.float()).norm() for gradient in gradients)
        return (numerator / (denominator + SMALLEST_NORM)).clamp(0, MOST_FACTOR).detach()

    def learn(self, coded: Coded, share: float = 1.0) -> dict[str, Tensor]:
        """Adds to the discriminator's gradients, and to no others.

        Args:
            coded: Frames; their gradients are not asked for.
            share: Of these frames in the batch.

        Returns:
            `discriminator/loss`, and `discriminator/real`, `discriminator/fake`, the means of its outputs.
        """
        self.discriminator.requires_grad_(True)
        try:
            x, reconstruction = coded.x.detach(), coded.reconstruction.detach()
            if self.r1:
                x.requires_grad_(True)
            real, fake = self._judge(x), self._judge(reconstruction)
            loss = GAMES[self.loss].discriminator(real, fake)
            if self.r1:
                (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
                loss = loss + 0.5 * self.r1 * slope.flatten(1).square().sum(1).mean()
            (share * loss).backward()
        finally:
            self.discriminator.requires_grad_(False)
        told = {"loss": loss, "real": real.mean(), "fake": fake.mean()}
        return {f"discriminator/{name}": value.detach() for name, value in told.items()}

    def _judge(self, x: Tensor) -> Tensor:
        images = frames_to_images(x.unsqueeze(0))
        device = x.device if self.device is None else self.device
        return self.discriminator(images.to(device)).to(x.device)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """A discriminator with a device of its own stays there, wherever the model is moved; its numbers may become
        others."""
        if self.device is None:
            return super()._apply(fn, recurse)
        return super()._apply(lambda x: x.to(fn(x.new_empty(0)).dtype), recurse)
