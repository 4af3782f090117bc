"""The objective of an autoencoder: named terms times weights, which may change while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.losses.annealing import END, Annealing, Number, Progress, as_annealing
from autocast.losses.terms import MEAN, SUM, Coded, Reconstructing, SquaredError, Term
from autocast.types import FieldSpec

ELBO = "elbo"
REDUCTIONS = {ELBO: SUM, MEAN: MEAN}
"""How the numbers of a frame come together, where a term leaves that open."""
OBJECTIVE = "model.objective"
"""Its key in a config."""
BOTTLENECKS = {"kl": "gaussian", "commitment": "vq"}
"""One that has what a term needs."""
WEIGHT = "weight/"
"""Before the name of a term, where its weight is told."""


@runtime_checkable
class Trained(Protocol):
    """What an objective asks of a bottleneck: the name of the term that it is trained with, if it needs one."""

    term: ClassVar[str | None]


@runtime_checkable
class Adversary(Protocol):
    """A term with a network of its own, which learns beside the autoencoder."""

    discriminator: nn.Module
    learning_rate: float

    def place(self) -> None:
        """Puts its network on the device that it shall learn on, if that is its own.

        Raises:
            ConfigError: There is no such device.
        """

    def learn(self, coded: Coded, share: float = 1.0) -> dict[str, Tensor]:
        """Adds to the gradients of its network what these frames, a share of a batch, teach; what is logged of it."""


class Objective(nn.Module):
    """Weighted sum of terms, each the mean over frames.

    It is not called as a module, nor are terms: whoever watches the modules of a model sees what makes its output.

    Args:
        terms: By name; those that are None are left out.
        weights: Of every term: a number, or an `Annealing`. A term whose weight is 0 is not computed.
        reduction: "elbo" sums over the numbers of a frame, so that the weight of `kl` is the beta of a beta-VAE;
            "mean" averages over them, but for `kl`.

    References:
        | beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (Higgins et al., 2017)
        | https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(
        self,
        terms: Mapping[str, Term | None],
        weights: Mapping[str, Annealing | Number | None],
        *,
        reduction: str = MEAN,
    ) -> None:
        super().__init__()
        known = {name: term for name, term in terms.items() if term is not None}
        self.weights = {name: as_annealing(weight) for name, weight in weights.items() if weight is not None}
        _check(known, self.weights, reduction)
        balanced_last = sorted(known.items(), key=lambda item: type(item[1]).factor is not Term.factor)
        self.terms = nn.ModuleDict(dict(balanced_last))
        self.reduction = reduction
        self.is_measuring = False
        """Whether what is called now judges, and makes nothing of a model's output."""

    @property
    def _items(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    @property
    def summary(self) -> str:
        """`elbo: 1 mse + 0 to 0.1 (linear, 10 %) kl`"""
        told = [
            f"{self.weights[name]} {name}" + (f" ({term.detail})" if term.detail else "") for name, term in self._items
        ]
        return f"{self.reduction}: " + " + ".join(told)

    @property
    def adversaries(self) -> list[Adversary]:
        """The terms with networks that learn against the autoencoder."""
        return [term for _, term in self._items if isinstance(term, Adversary)]

    def teach(self, coded: Coded, progress: Progress, share: float = 1.0) -> dict[str, Tensor]:
        """Lets the networks learn whose terms have a weight by then; see `Adversary.learn`."""
        told: dict[str, Tensor] = {}
        for name, term in self._items:
            if isinstance(term, Adversary) and self.weights[name].at(progress):
                told |= term.learn(coded, share)
        return told

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        """Gives the terms what only networks and data know.

        Raises:
            ConfigError: A term cannot be computed for them.
        """
        for _, term in self._items:
            term.attach(autoencoder, spec)

    def prepare(self) -> None:
        """Lets the terms read the files that a training needs.

        Raises:
            ConfigError: One is missing or is another than is wanted.
        """
        for _, term in self._items:
            term.prepare()

    def check_bottleneck(self, bottleneck: Trained) -> None:
        """Whether every term can be computed, and what the bottleneck is trained with is there.

        Raises:
            ConfigError: One cannot, or it is not.
        """
        kind = type(bottleneck).__name__
        for name, term in self._items:
            if term.needs not in (None, bottleneck.term):
                raise ConfigError(
                    f"{OBJECTIVE}: the term {name} measures what {kind} does not have. Choose {_bottleneck_for(term)}, "
                    f"or leave it out: {OBJECTIVE}.terms.{name}=null {OBJECTIVE}.weights.{name}=null."
                )
            if term.needs == "commitment" and not self.weights[name].at(Progress(0)):
                raise ConfigError(
                    f"{OBJECTIVE}.weights.{name}={self.weights[name]}: codes are learnt by it from the first step on. "
                    "Give a number, or an annealing that does not begin at 0."
                )
        if bottleneck.term is not None and all(term.needs != bottleneck.term for _, term in self._items):
            raise ConfigError(
                f"{OBJECTIVE}: {kind} is trained with the term {bottleneck.term}, which is not among "
                f"{', '.join(self.terms)}. Choose objective={'vae' if bottleneck.term == 'kl' else 'vq'}, or add it."
            )

    def measure(self, coded: Coded, progress: Progress | None = None) -> dict[str, Tensor]:
        """The sum as "loss", the terms by name, and while it is trained their weights as `weight/<name>`.

        Args:
            coded: Frames.
            progress: How far the training is; None is a validation, which weighs as in the end, so that its sum means
                the same in every epoch.
        """
        self.is_measuring = True
        try:
            return self._measure(coded, progress)
        finally:
            self.is_measuring = False

    def _measure(self, coded: Coded, progress: Progress | None) -> dict[str, Tensor]:
        told: dict[str, Tensor] = {}
        total = coded.reconstruction.new_zeros(())
        for name, term in self._items:
            if progress is None and not term.keeps_meaning:
                continue
            weight: Tensor | Number = self.weights[name].at(progress or END)
            if weight:
                told[name] = self._reduce(term, term.measure(coded))
                weight = weight * term.factor(total, told[name])
                total = total + weight * told[name]
            if progress is not None:
                told[f"{WEIGHT}{name}"] = torch.ones((), device=total.device) * weight
        return {"loss": total, **told}

    def _reduce(self, term: Term, values: Tensor) -> Tensor:
        reduction = term.reduction or REDUCTIONS[self.reduction]
        each = values.flatten(1)
        return (each.sum(1) if reduction == SUM else each.mean(1)).mean()


def mean_squared_error() -> Objective:
    """What an autoencoder without a distribution or codes is trained with."""
    return Objective({"mse": SquaredError()}, {"mse": 1.0})


def _bottleneck_for(term: Term) -> str:
    return f"bottleneck={BOTTLENECKS[term.needs]}" if term.needs in BOTTLENECKS else "another bottleneck"


def _check(terms: Mapping[str, Term], weights: Mapping[str, Annealing], reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ConfigError(f"{OBJECTIVE}.reduction={reduction}: there are {', '.join(REDUCTIONS)}.")
    without, idle = terms.keys() - weights.keys(), weights.keys() - terms.keys()
    if without or idle:
        problems = [f"{name} has no weight" for name in sorted(without)]
        problems += [f"there is a weight of {name}, but no such term" for name in sorted(idle)]
        raise ConfigError(f"{OBJECTIVE}: {'; '.join(problems)}. Terms: {', '.join(terms)}.")
    ends = {name: annealing.weight for name, annealing in weights.items()}
    if negative := [f"{name} ({weight})" for name, weight in ends.items() if weight < 0]:
        raise ConfigError(f"{OBJECTIVE}.weights: not negative are wanted, found {', '.join(negative)}.")
    if not any(ends.values()):
        raise ConfigError(f"{OBJECTIVE}.weights: all are 0, so nothing is learnt. Terms: {', '.join(terms)}.")
