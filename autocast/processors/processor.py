"""What every processor is: a loss to train it by, and a way to draw a forecast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.generative.noise import Noise
from autocast.layout import channels_to_steps, steps_to_channels
from autocast.nn.backbone import Backbone
from autocast.types import Condition, EncodedSpec


class Processor(nn.Module, ABC):
    """Maps encoded input steps to a distribution of encoded output steps.

    The network's target is the output itself or, with `increment`, its difference from the last input frame, divided
    by `increment_scale` for each channel.
    """

    deterministic: ClassVar[bool]
    """Whether all forecasts from one input are the same."""
    increment_scale: Tensor

    def __init__(self, spec: EncodedSpec, *, increment: bool) -> None:
        super().__init__()
        self.spec = spec
        self.increment = increment
        self.register_buffer("increment_scale", torch.ones(spec.n_channels))

    @abstractmethod
    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        """The training loss of inputs `x` and outputs `y`."""

    @abstractmethod
    def sample(self, x: Float[Tensor, "b ti *s ci"], condition: Condition, noise: Noise) -> Float[Tensor, "b to *s co"]:
        """One forecast per row of `x`."""

    def set_increment_scale(self, scale: Float[Tensor, " c"]) -> None:
        """Sets what increments are divided by: per channel, their standard deviation in the training data.

        Scales have a floor, so that a channel that never changes is not divided by 0.
        """
        self.increment_scale.copy_(scale.clamp(min=1e-6))

    def _build(
        self, backbone: Callable[..., Backbone], *, extra_channels: int = 0, extra_features: int = 0
    ) -> Backbone:
        """The backbone for this processor's shapes; extras are what it is given beside past, scalars and fields."""
        spec = self.spec
        return backbone(
            spec.n_steps_input * spec.n_channels_input + spec.n_constant_channels + extra_channels,
            spec.n_steps_output * spec.n_channels_output,
            grid_shape=spec.grid_shape,
            periodic=spec.periodic,
            condition_features=spec.n_scalars + extra_features,
        )

    def _past(self, x: Tensor, condition: Condition) -> Tensor:
        """What is known, as an image `(B, Ti*Ci + Cc, *S)`."""
        past = steps_to_channels(x)
        if condition.fields is None:
            return past
        return torch.cat([past, condition.fields.movedim(-1, 1)], dim=1)

    def _features(self, x: Tensor, condition: Condition, *extra: Tensor) -> Tensor:
        """What the backbone is told `(B, K + extra features)`."""
        scalars = x.new_empty(x.shape[0], 0) if condition.scalars is None else condition.scalars
        return torch.cat([scalars, *extra], dim=1)

    def _target(self, x: Tensor, y: Tensor) -> Tensor:
        """What the network should give for `y`, as an image `(B, To*Co, *S)`."""
        if self.increment:
            y = (y - self._last_frame(x)) / self.increment_scale.repeat(self.spec.n_frames_output)
        return steps_to_channels(y)

    def _forecast(self, x: Tensor, target: Tensor) -> Tensor:
        """The inverse of `_target`: `(B, To*Co, *S)` to `(B, To, *S, Co)`."""
        y = channels_to_steps(target, self.spec.n_steps_output)
        if self.increment:
            y = self._last_frame(x) + y * self.increment_scale.repeat(self.spec.n_frames_output)
        return y

    def _last_frame(self, x: Tensor) -> Tensor:
        """`(B, 1, *S, Co)`: the last frame of the input, once per frame of an output step."""
        frame = x[:, -1:, ..., -self.spec.n_channels :]
        return frame.repeat(*[1] * (x.ndim - 1), self.spec.n_frames_output)
