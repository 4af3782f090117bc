"""Processors that forecast in one network call, trained by how far the forecasts are from the truth."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.layout import channels_to_steps, fold_members, merge_frames, split_frames, unfold_members
from autocast.nn.backbone import Backbone
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec


class Draws(NamedTuple):
    """What the members of an ensemble are told to differ by."""

    features: Tensor
    """`(B, M, noise_features)`"""
    channels: Tensor
    """`(B, M, noise_channels, *S)`"""

    def split(self, n_members: int) -> Iterator[Draws]:
        """In groups of at most `n_members` members."""
        return map(Draws, self.features.split(n_members, dim=1), self.channels.split(n_members, dim=1))


class Regression(Processor):
    """One network call per window, member and step of a rollout.

    Trained on as many consecutive windows as `y` holds: the forecast of a window becomes the past of the next, as in a
    rollout, every member going on from its own. The loss is the mean over the windows.

    Args:
        spec: the encoded steps that it maps.
        backbone: the network, to be completed with shapes.
        increment: whether the network gives the increment over the last frame.
        condition_noise: standard deviation of the normal noise on the past in training.
        pushforward: whether gradients stop between windows, so that a window is learned from the past that the earlier
            ones led to, and not by them.
        gradient_checkpointing: whether several windows are computed again in the backward pass, so that memory for
            activations does not grow with their number.
        n_members: members in training.
        members_per_call: members in one network call; None is all. Several calls are computed again in the backward
            pass, so that memory for activations does not grow with the members.
        noise_features: normal numbers that each member is told.
        noise_channels: fields of white noise that each member sees beside the past.

    References:
        | Message Passing Neural PDE Solvers (Brandstetter et al., 2022), for pushforward
        | https://arxiv.org/abs/2202.03376
    """

    can_unroll: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        increment: bool = True,
        condition_noise: float = 0.0,
        pushforward: bool = True,
        gradient_checkpointing: bool = False,
        n_members: int = 1,
        members_per_call: int | None = None,
        noise_features: int = 0,
        noise_channels: int = 0,
    ) -> None:
        super().__init__(spec, increment=increment, condition_noise=condition_noise)
        if members_per_call is not None and members_per_call < 1:
            raise ConfigError(f"processor.members_per_call={members_per_call}: must be at least 1, or null for all.")
        self._pushforward = pushforward
        self._gradient_checkpointing = gradient_checkpointing
        self._n_members = n_members
        self._members_per_call = members_per_call
        self._noise_features = noise_features
        self._noise_channels = noise_channels
        self.backbone = self._build(backbone, extra_channels=noise_channels, extra_features=noise_features)

    @abstractmethod
    def distance(
        self, deviations: Float[Tensor, "b m to *s co"], truth: Float[Tensor, "b to *s co"]
    ) -> Float[Tensor, ""]:
        """The loss of one window.

        Args:
            deviations: members less the truth, in the units of the network: with `increment`, divided by its scale.
            truth: the encoded output.
        """

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        windows = self._windows(y)
        unrolled = self._unrolled(self._noised(x, noise), condition, noise, recompute=self._recomputes(len(windows)))
        losses = [  # the windows come first: the generator is not asked for one more than there are
            self.distance(answers - self._standardised(past, truth.unsqueeze(1)), truth)
            for truth, (past, answers) in zip(windows, unrolled, strict=False)
        ]
        return torch.stack(losses).mean()

    @property
    def n_solver_steps(self) -> int:
        return 1

    def draw(self, x: Float[Tensor, "b ti *s ci"], noise: Noise) -> Draws:
        return self._draw(noise, x, n_members=1)

    def forward(
        self, x: Float[Tensor, "b ti *s ci"], condition: Condition, drawn: Draws
    ) -> Float[Tensor, "b to *s co"]:
        return self._restored(x, self._call(x.unsqueeze(1), condition, drawn).squeeze(1))

    def _windows(self, y: Tensor) -> tuple[Tensor, ...]:
        n_steps = self.spec.n_steps_output
        if not y.shape[1] or y.shape[1] % n_steps:
            raise ValueError(f"y has {y.shape[1]} steps; this processor takes multiples of {n_steps}")
        return y.split(n_steps, dim=1)

    def _recomputes(self, n_windows: int) -> bool:
        n_calls = -(-self._n_members // (self._members_per_call or self._n_members))
        return n_calls > 1 or (self._gradient_checkpointing and n_windows > 1)

    def _unrolled(
        self, x: Tensor, condition: Condition, noise: Noise, *, recompute: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows without end: the members' pasts `(B, M, Ti, *S, Ci)` and the network's answers."""
        past = x.unsqueeze(1).expand(-1, self._n_members, *x.shape[1:])
        while True:
            answers = self._answers(past, condition, self._draw(noise, x, self._n_members), recompute=recompute)
            yield past, answers
            past = self._advanced(past, self._restored(past, answers))
            if self._pushforward:
                past = past.detach()

    def _draw(self, noise: Noise, x: Tensor, n_members: int) -> Draws:
        """What the members differ by, in one window."""

        def normal(n: int, *shape: int) -> Tensor:
            return noise.normal(n_members, n, *shape, like=x) if n else x.new_empty(len(x), n_members, 0, *shape)

        return Draws(normal(self._noise_features), normal(self._noise_channels, *self.spec.grid_shape))

    def _answers(self, past: Tensor, condition: Condition, draws: Draws, *, recompute: bool) -> Tensor:
        """`(B, M, To, *S, Co)`: the outputs or increments of all members, in the units of the network."""
        n_members = self._members_per_call or self._n_members
        call: Callable[..., Tensor] = self._call
        if recompute:
            call = functools.partial(checkpoint, call, use_reentrant=False, preserve_rng_state=False)
        groups = zip(past.split(n_members, dim=1), draws.split(n_members), strict=True)
        return torch.cat([call(members, condition, drawn) for members, drawn in groups], dim=1)

    def _call(self, past: Tensor, condition: Condition, draws: Draws) -> Tensor:
        """One network call for the members `(B, m, Ti, *S, Ci)`."""
        n_members = past.shape[1]
        x, condition = fold_members(past), condition.repeat(n_members)
        image = torch.cat([self._past(x, condition), fold_members(draws.channels)], dim=1)
        answer = self.backbone(image, self._features(x, condition, fold_members(draws.features)))
        return unfold_members(channels_to_steps(answer, self.spec.n_steps_output), n_members)

    def _advanced(self, past: Tensor, forecast: Tensor) -> Tensor:
        """The past of the next window: the last frames of what is there by then."""
        spec, n_members = self.spec, past.shape[1]
        frames = [split_frames(fold_members(x), spec.n_channels) for x in (past, forecast)]
        last = torch.cat(frames, dim=1)[:, -spec.n_steps_input * spec.n_frames_input :]
        return unfold_members(merge_frames(last, spec.n_steps_input), n_members)
