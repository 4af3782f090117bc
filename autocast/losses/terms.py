"""Terms of an autoencoder's objective: what is compared, number by number.

Every term gives `(N, ...)`, a row for each frame; the objective sums or averages the rest, where the term does not say
which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.losses.annealing import Number
from autocast.types import FieldSpec

ELEMENTWISE, BATCH_MEAN = "elementwise", "batch_mean"
SUM, MEAN = "sum", "mean"
PROBABILITY_MARGIN = 1e-7


@runtime_checkable
class Penalised(Protocol):
    """What a term asks of a posterior."""

    def penalty(self) -> Tensor:
        """`(B, T, *S, C)`"""


@runtime_checkable
class HasFeatures(Protocol):
    """What a term asks of an encoder."""

    def features(self, x: Tensor) -> list[Tensor]:
        """`(B, T, *S, C)` to `(N, K, *S')`, level by level."""


@runtime_checkable
class HasLastWeight(Protocol):
    """What a term asks of a decoder."""

    @property
    def last_weight(self) -> nn.Parameter | None:
        """Of the layer that gives the fields; None where none does."""


@runtime_checkable
class Reconstructing(Protocol):
    """What a term asks of an autoencoder."""

    @property
    def encoder(self) -> HasFeatures: ...

    @property
    def decoder(self) -> HasLastWeight: ...


@dataclass(frozen=True)
class Coded:
    """Frames that went through an autoencoder, normalised: `(N, *S, C)` each."""

    x: Tensor
    reconstruction: Tensor
    posterior: Penalised

    @classmethod
    def of(cls, x: Tensor, reconstruction: Tensor, posterior: Penalised) -> Coded:
        """From windows `(B, T, *S, C)`, every frame by itself."""
        return cls(x.flatten(0, 1), reconstruction.flatten(0, 1), posterior)


class Term(nn.Module, ABC):
    """One term of an objective.

    Attributes:
        reduction: "sum" or "mean" over the numbers of a frame; None leaves it to the objective.
        needs: The `term` of bottlenecks that it measures; None where it looks at reconstructions.
        keeps_meaning: Whether a value means the same all through a training; else validation leaves it out.
    """

    reduction: ClassVar[str | None] = None
    needs: ClassVar[str | None] = None
    keeps_meaning: bool = True

    @property
    def detail(self) -> str:
        """What a summary says of it beside its name; mostly nothing."""
        return ""

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        """Takes what only networks and data know; called once, before it is measured.

        Raises:
            ConfigError: It cannot be computed for them.
        """

    def prepare(self) -> None:
        """Reads the files that it needs; called before a training, not for what is only evaluated.

        Raises:
            ConfigError: A file is missing or is another than is wanted.
        """

    @abstractmethod
    def measure(self, coded: Coded) -> Float[Tensor, "n ..."]:
        """The term of every frame, or of every number of it."""

    def factor(self, others: Tensor, own: Tensor) -> Tensor | Number:  # noqa: ARG002
        """What its weight is multiplied by, given the weighted sum of the terms before it and its own value."""
        return 1


class SquaredError(Term):
    """`(r - x)²`"""

    def measure(self, coded: Coded) -> Float[Tensor, "n *s c"]:
        return (coded.reconstruction - coded.x).square()


class AbsoluteError(Term):
    """`abs(r - x)`"""

    def measure(self, coded: Coded) -> Float[Tensor, "n *s c"]:
        return (coded.reconstruction - coded.x).abs()


class CrossEntropy(Term):
    """Binary cross entropy of fields in [0, 1].

    Args:
        from_logits: Whether reconstructions are logits; else they are probabilities, cut to [1e-7, 1 - 1e-7].
        gamma: Focus on what is wrong: the entropy is weighed by `abs(p - x)` to this power; 0 is plain.

    References:
        | Focal Loss for Dense Object Detection (Lin et al., 2017) | https://arxiv.org/abs/1708.02002
    """

    def __init__(self, *, from_logits: bool = False, gamma: Number = 0):
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"gamma={gamma}: not negative is wanted; 0 weighs all alike.")
        self.from_logits = from_logits
        self.gamma = gamma

    def measure(self, coded: Coded) -> Float[Tensor, "n *s c"]:
        x, r = coded.x, coded.reconstruction
        if self.from_logits:
            entropy, p = F.binary_cross_entropy_with_logits(r, x, reduction="none"), r.sigmoid()
        else:
            p = r.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
            entropy = -(x * p.log() + (1 - x) * (1 - p).log())
        return entropy if self.gamma == 0 else (p - x).abs() ** self.gamma * entropy


class RelativeError(Term):
    """Root of the mean squared error over the unbiased variance of the frame, by channel: VRMSE, as it is scored.

    References:
        | The Well: a large-scale collection of diverse physics simulations for machine learning (Ohana et al., 2024)
        | https://arxiv.org/abs/2412.00568
    """

    reduction: ClassVar[str | None] = MEAN

    def measure(self, coded: Coded) -> Float[Tensor, "n c"]:
        axes = tuple(range(1, coded.x.ndim - 1))
        error = (coded.reconstruction - coded.x).square().mean(axes)
        return (error / (coded.x.var(axes) + 1e-7) + torch.finfo(error.dtype).tiny).sqrt()


class GradientError(Term):
    """Squared error of the differences of neighbouring points, along every axis."""

    def measure(self, coded: Coded) -> Float[Tensor, "n k"]:
        error = coded.reconstruction - coded.x
        axes = range(1, error.ndim - 1)
        return torch.cat([error.diff(dim=axis).square().flatten(1) for axis in axes if error.shape[axis] > 1], dim=1)


class SpectralError(Term):
    """Difference of the logarithms of the moduli of Fourier modes, in absolute value: fine structure counts as coarse.

    Args:
        floor: Added to the moduli, which are of the orthonormal transform of normalised fields.
    """

    reduction: ClassVar[str | None] = MEAN

    def __init__(self, *, floor: Number = 1e-2):
        super().__init__()
        if floor <= 0:
            raise ConfigError(f"floor={floor}: more than 0 is wanted, for modes without power have no logarithm.")
        self.floor = floor

    def measure(self, coded: Coded) -> Float[Tensor, "n k"]:
        return (self._logarithm(coded.reconstruction) - self._logarithm(coded.x)).abs().flatten(1)

    def _logarithm(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.ndim - 1))
        return torch.log(torch.fft.rfftn(x.float(), dim=axes, norm="ortho").abs() + self.floor)


class KL(Term):
    """Divergence of the posterior from a standard normal distribution, in nats: summed over the numbers of a frame.

    Args:
        free_bits: Nats of every latent number, or what their batch means, that cost nothing.
        free_bits_mode: "elementwise" is for each number of each frame, "batch_mean" for the batch means of numbers.
        capacity: Nats of a frame that are aimed at: the distance from them counts. None aims at 0.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow, free bits (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934
        | Understanding disentangling in beta-VAE, capacity (Burgess et al., 2018) | https://arxiv.org/abs/1804.03599
    """

    reduction: ClassVar[str | None] = SUM
    needs: ClassVar[str | None] = "kl"

    def __init__(self, *, free_bits: Number = 0, free_bits_mode: str = ELEMENTWISE, capacity: Number | None = None):
        super().__init__()
        if free_bits < 0:
            raise ConfigError(f"free_bits={free_bits}: not negative is wanted; 0 is without.")
        if free_bits_mode not in (ELEMENTWISE, BATCH_MEAN):
            raise ConfigError(f"free_bits_mode={free_bits_mode}: {ELEMENTWISE} or {BATCH_MEAN} is wanted.")
        if capacity is not None and free_bits:
            raise ConfigError(f"capacity={capacity}, free_bits={free_bits}: both keep the KL from 0. Set one of them.")
        self.free_bits = free_bits
        self.free_bits_mode = free_bits_mode
        self.capacity = capacity

    def measure(self, coded: Coded) -> Float[Tensor, "n k"]:
        kl = coded.posterior.penalty().flatten(0, 1).flatten(1)
        if self.free_bits and self.free_bits_mode == BATCH_MEAN:
            kl = kl.mean(0, keepdim=True)
        if self.free_bits:
            kl = kl.clamp(min=self.free_bits)
        return kl if self.capacity is None else (kl.sum(1, keepdim=True) - self.capacity).abs()


class Commitment(Term):
    """Distance of latents from their codes, as the bottleneck weighs both sides."""

    needs: ClassVar[str | None] = "commitment"

    def measure(self, coded: Coded) -> Float[Tensor, "n *s c"]:
        return coded.posterior.penalty().flatten(0, 1)


def named_device(key: str, name: str) -> torch.device:
    """Raises ConfigError where a key's value is no name of a device; whether it is there is another question."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"{key}={name}: no device. Write cpu, cuda:1, or null.") from error
