"""Bottlenecks of discrete codes: a codebook learnt by gradients or by averages, and finite scalar quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from autocast.autoencoders.bottlenecks import Bottleneck, Posterior
from autocast.errors import ConfigError
from autocast.generative.noise import Noise

SMOOTHING = 1e-5
"""Added to the count of every code, so that an unused one keeps a mean."""


class Quantised(Posterior):
    """Codes in place of latents.

    Args:
        mode: `(B, T, *S, C)` the codes; gradients pass straight through to the latents.
        indices: `(B, T, *S)` which ones.
        n_codes: That there are.
        penalty: `(B, T, *S, C)`; None of codes that are not learnt.
    """

    def __init__(self, mode: Tensor, indices: Tensor, n_codes: int, penalty: Tensor | None = None):
        self.mode = mode
        self.indices = indices
        self.n_codes = n_codes
        self._penalty = penalty

    def sample(self, noise: Noise) -> Float[Tensor, "b t *s c"]:  # noqa: ARG002 - there is one value only
        return self.mode

    def penalty(self) -> Float[Tensor, "b t *s c"]:
        return super().penalty() if self._penalty is None else self._penalty

    def usage(self) -> dict[str, Tensor]:
        """`perplexity`: exponential of the entropy of the codes' shares, at most their number; `used_codes`, and the
        share `used_share` that these are of the codes, or of the points where there are fewer."""
        counts = torch.bincount(self.indices.flatten(), minlength=self.n_codes).float()
        shares = counts / counts.sum()
        entropy = -(shares * shares.clamp(min=torch.finfo(shares.dtype).tiny).log()).sum()
        used = (counts > 0).sum().float()
        most = min(self.n_codes, self.indices.numel())
        return {"perplexity": entropy.exp(), "used_codes": used, "used_share": used / most}


class VectorQuantisation(Bottleneck):
    """Each point's latents become the nearest of `n_codes` learnt codes; gradients pass straight through.

    Its penalty is the squared distance of codes from latents, which moves the codes, and `commitment` times the same,
    which moves the encoder.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017) | https://arxiv.org/abs/1711.00937
    """

    term: ClassVar[str | None] = "commitment"

    def __init__(self, n_channels: int, *, n_codes: int = 1024, commitment: float = 0.25) -> None:
        super().__init__()
        _check_codes(n_codes)
        self.n_codes = n_codes
        self.commitment = commitment
        self.codes = nn.Parameter(torch.empty(n_codes, n_channels).uniform_(-1 / n_codes, 1 / n_codes))

    def posterior(self, z: Float[Tensor, "b t *s c"]) -> Quantised:
        z = _in_full(z)
        indices = nearest(z, self.codes)
        codes = self.codes[indices]
        penalty = (codes - z.detach()).square() + self.commitment * (z - codes.detach()).square()
        return Quantised(z + (codes - z).detach(), indices, self.n_codes, penalty)

    def settle(self, z: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        return self.codes[nearest(z, self.codes)]


class AveragedVectorQuantisation(Bottleneck):
    """As `VectorQuantisation`, with codes that are moving averages of the latents nearest to them.

    The first batch gives the codes; one whose average count falls below `revive_below` latents in a batch becomes one
    of the batch's latents. Its penalty moves the encoder alone.

    References:
        | Neural Discrete Representation Learning, appendix A.1 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937
        | Jukebox: A Generative Model for Music, 3.1: random restarts (Dhariwal et al., 2020)
        | https://arxiv.org/abs/2005.00341
    """

    term: ClassVar[str | None] = "commitment"
    counts: Tensor
    sums: Tensor
    is_filled: Tensor

    def __init__(
        self,
        n_channels: int,
        *,
        n_codes: int = 1024,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive_below: float = 0.1,
    ) -> None:
        super().__init__()
        _check_codes(n_codes)
        if not 0 <= decay < 1:
            raise ConfigError(f"bottleneck.decay={decay}: a number from 0 to below 1 is wanted, such as 0.99.")
        self.n_codes = n_codes
        self.commitment = commitment
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer("counts", torch.ones(n_codes))
        self.register_buffer("sums", torch.randn(n_codes, n_channels))
        self.register_buffer("is_filled", torch.tensor(False))

    @property
    def codes(self) -> Float[Tensor, "n c"]:
        """Made of sums and counts, so that codes of averaged weights count what they are averages of."""
        return self.sums / (self.counts + SMOOTHING).unsqueeze(1)

    def posterior(self, z: Float[Tensor, "b t *s c"]) -> Quantised:
        z, known = _in_full(z), self.codes
        indices = nearest(z, known)
        codes = known[indices].to(z.dtype)
        return Quantised(z + (codes - z).detach(), indices, self.n_codes, self.commitment * (z - codes).square())

    def settle(self, z: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        known = self.codes
        return known[nearest(z, known)].to(z.dtype)

    @torch.no_grad()
    def learn(self, z: Float[Tensor, "b t *s c"], noise: Noise) -> None:
        """Counts and sums of the latents nearest to each code; over all ranks, which then have the same codes."""
        latents = z.detach().flatten(0, -2).float()
        spare = _drawn(latents, self.n_codes, noise)
        if not self.is_filled:
            self._restart(torch.ones_like(self.is_filled).expand(self.n_codes), spare)
            self.is_filled.fill_(True)
        indices = nearest(latents, self.codes)
        counts = torch.bincount(indices, minlength=self.n_codes).to(self.counts)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, latents)
        for total in (counts, sums):
            _add_over_ranks(total)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self._restart(self.counts < self.revive_below, spare)

    def _restart(self, which: Tensor, latents: Tensor) -> None:
        """Codes that begin anew as single latents."""
        self.counts.masked_fill_(which, 1.0)
        self.sums.copy_(torch.where(which.unsqueeze(1), latents, self.sums))


class FiniteScalarQuantisation(Bottleneck):
    """A linear map to a few numbers, each bounded and rounded to one of so many levels, and a linear map back.

    All combinations of levels are the codes: there is no codebook to learn, and no penalty.

    References:
        | Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2023) | https://arxiv.org/abs/2309.15505
    """

    def __init__(self, n_channels: int, *, levels: Sequence[int] = (8, 5, 5, 5)) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ConfigError(f"bottleneck.levels={list(levels)}: at least one number, each at least 2, is wanted.")
        if len(levels) > n_channels:
            raise ConfigError(
                f"bottleneck.levels={list(levels)}: more numbers than the {n_channels} channels of a point. Give fewer "
                "levels, or an encoder with more channels."
            )
        self.levels = tuple(levels)
        self.n_codes = prod(self.levels)
        self.down = nn.Linear(n_channels, len(self.levels))
        self.up = nn.Linear(len(self.levels), n_channels)

    def posterior(self, z: Float[Tensor, "b t *s c"]) -> Quantised:
        places = self._round(self._bound(_in_full(self.down(z))))
        levels = torch.tensor(self.levels, device=z.device)
        half = levels // 2
        bases = torch.cat([levels.new_ones(1), levels[:-1].cumprod(0)])
        indices = ((places.detach().round().long() + half) * bases).sum(-1)
        return Quantised(self.up(places / half), indices, self.n_codes)

    def settle(self, z: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *s c"]:
        """By least squares through the map up, each number to its nearest level."""
        levels = torch.tensor(self.levels, device=z.device)
        half = levels // 2
        back = torch.linalg.pinv(self.up.weight.float())
        places = ((_in_full(z) - self.up.bias) @ back.to(_in_full(z)).T * half).round()
        return self.up(torch.minimum(torch.maximum(places, -half), levels - 1 - half) / half)

    def _bound(self, x: Tensor) -> Float[Tensor, "*any d"]:
        """Into the range whose roundings are the levels, `-(n // 2)` and on."""
        levels = torch.tensor(self.levels, device=x.device, dtype=x.dtype)
        reach = (levels - 1) * (1 + 1e-3) / 2
        shift = torch.where(levels % 2 == 0, 0.5, 0.0)
        return (x + (shift / reach).atanh()).tanh() * reach - shift

    def _round(self, x: Tensor) -> Tensor:
        return x + (x.round() - x).detach()


def nearest(z: Float[Tensor, "*any c"], codes: Float[Tensor, "n c"]) -> Int[Tensor, "*any"]:
    """Which code is nearest to each vector, in single precision whatever the training has: codes lie close together."""
    with torch.autocast(z.device.type, enabled=False):
        vectors, known = z.detach().flatten(0, -2).float(), codes.detach().float()
        scores = vectors @ known.T - 0.5 * known.square().sum(1)
    return scores.argmax(1).unflatten(0, z.shape[:-1])


def _in_full(z: Tensor) -> Tensor:
    """In single precision at least."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _drawn(latents: Float[Tensor, "n c"], n: int, noise: Noise) -> Float[Tensor, "k c"]:
    """`n` of the latents, at random, the same on every rank."""
    draws = noise.uniform(n, like=latents)[0]
    spare = latents[(draws * len(latents)).long().clamp(max=len(latents) - 1)]
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(spare, src=0)
    return spare


def _add_over_ranks(total: Tensor) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)


def _check_codes(n_codes: int) -> None:
    if n_codes < 2:
        raise ConfigError(f"bottleneck.n_codes={n_codes}: at least 2 are needed.")
