"""What every processor is: a loss to train it by, and a way to draw a forecast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.layout import channels_to_steps, steps_to_channels
from autocast.nn.backbone import Backbone
from autocast.types import Condition, EncodedSpec


class Processor(nn.Module, ABC):
    """Maps encoded input steps to a distribution of encoded output steps.

    The network's target is the output itself or, with `increment`, its difference from the last input frame, divided
    by `increment_scale` for each channel. Noise on the past changes what an increment is the difference from: a network
    learns to lead from where it is to the truth.

    Args:
        spec: the encoded steps that it maps.
        increment: whether the target is the increment over the last frame.
        condition_noise: standard deviation of the normal noise that the past gets in training, which makes rollouts
            robust against their own errors.
    """

    deterministic: ClassVar[bool]
    """Whether all forecasts from one input are the same."""
    can_unroll: ClassVar[bool] = False
    """Whether `loss` takes several windows of output, one after the other."""
    increment_scale: Tensor
    boundary_marks: Tensor
    """`(kinds, *S)`: 1 at the ends of the axes with walls, and of those with open ends; 0 elsewhere."""

    def __init__(self, spec: EncodedSpec, *, increment: bool, condition_noise: float = 0.0) -> None:
        super().__init__()
        if condition_noise < 0:
            raise ConfigError(f"processor.condition_noise={condition_noise}: a standard deviation, 0 or more.")
        self.spec = spec
        self.increment = increment
        self._condition_noise = condition_noise
        self.register_buffer("increment_scale", torch.ones(spec.n_channels))
        self.register_buffer("boundary_marks", _boundary_marks(spec), persistent=False)

    @abstractmethod
    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        """The training loss of inputs `x` and outputs `y`."""

    @property
    @abstractmethod
    def n_solver_steps(self) -> int:
        """Steps that a forecast is solved in, each of one or two network calls."""

    @abstractmethod
    def draw(self, x: Float[Tensor, "b ti *s ci"], noise: Noise) -> Any:
        """The random numbers of one forecast per row of `x`, all that `forward` needs."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "b ti *s ci"], condition: Condition, drawn: Any) -> Float[Tensor, "b to *s co"]:
        """One forecast per row of `x`, from what `draw` gave: it follows from its arguments, so it can be compiled."""

    def sample(self, x: Float[Tensor, "b ti *s ci"], condition: Condition, noise: Noise) -> Float[Tensor, "b to *s co"]:
        """One forecast per row of `x`."""
        return self(x, condition, self.draw(x, noise))

    def set_increment_scale(self, scale: Float[Tensor, " c"]) -> None:
        """Sets what increments are divided by: per channel, their root mean square in the training data.

        Scales have a floor: that of the noise on the past, or what keeps a channel that never changes from being
        divided by 0.
        """
        self.increment_scale.copy_(scale.clamp(min=max(self._condition_noise, 1e-6)))

    def _build(
        self, backbone: Callable[..., Backbone], *, extra_channels: int = 0, extra_features: int = 0
    ) -> Backbone:
        """The backbone for this processor's shapes; extras are what it is given beside `_past` and the scalars."""
        spec = self.spec
        n_past = spec.n_steps_input * spec.n_channels_input
        return backbone(
            n_past + spec.n_constant_channels + len(self.boundary_marks) + extra_channels,
            spec.n_steps_output * spec.n_channels_output,
            grid_shape=spec.grid_shape,
            periodic=spec.periodic,
            condition_features=spec.n_scalars + extra_features,
        )

    def _noised(self, x: Tensor, noise: Noise) -> Tensor:
        """The past as training sees it: with `condition_noise`, drawn now."""
        if not self.training or not self._condition_noise:
            return x
        return x + self._condition_noise * noise.normal(*x.shape[1:], like=x)

    def _past(self, x: Tensor, condition: Condition) -> Tensor:
        """What is known, as an image `(B, Ti*Ci + Cc + kinds of boundary, *S)`."""
        channels = [steps_to_channels(x)]
        if condition.fields is not None:
            channels.append(condition.fields.movedim(-1, 1))
        if len(self.boundary_marks):
            channels.append(self.boundary_marks.to(x.dtype).expand(x.shape[0], *self.boundary_marks.shape))
        return torch.cat(channels, dim=1)

    def _features(self, x: Tensor, condition: Condition, *extra: Tensor) -> Tensor:
        """What the backbone is told `(B, K + extra features)`."""
        scalars = x.new_empty(x.shape[0], 0) if condition.scalars is None else condition.scalars
        return torch.cat([scalars, *extra], dim=1)

    def _target(self, x: Tensor, y: Tensor) -> Tensor:
        """What the network should give for `y`, as an image `(B, To*Co, *S)`."""
        return steps_to_channels(self._standardised(x, y))

    def _forecast(self, x: Tensor, target: Tensor) -> Tensor:
        """The inverse of `_target`: `(B, To*Co, *S)` to `(B, To, *S, Co)`."""
        return self._restored(x, channels_to_steps(target, self.spec.n_steps_output))

    def _standardised(self, x: Tensor, y: Tensor) -> Tensor:
        """Outputs `(..., To, *S, Co)` after a past `(..., Ti, *S, Ci)` in the units of the network."""
        return (y - self._last_frame(x)) / self._output_scale if self.increment else y

    def _restored(self, x: Tensor, y: Tensor) -> Tensor:
        """The inverse of `_standardised`."""
        return self._last_frame(x) + y * self._output_scale if self.increment else y

    @property
    def _output_scale(self) -> Tensor:
        """`(Co,)`: the units of the network."""
        scale = self.increment_scale if self.increment else torch.ones_like(self.increment_scale)
        return scale.repeat(self.spec.n_frames_output)

    def _last_frame(self, x: Tensor) -> Tensor:
        """`(..., 1, *S, Co)`: the last frame of a past, once per frame of an output step."""
        n_steps, n_channels = x.shape[-2 - self.spec.n_spatial_dims], x.shape[-1]
        frame = x.narrow(-2 - self.spec.n_spatial_dims, n_steps - 1, 1)
        frame = frame.narrow(-1, n_channels - self.spec.n_channels, self.spec.n_channels)
        return frame.repeat(*[1] * (x.ndim - 1), self.spec.n_frames_output)


def _boundary_marks(spec: EncodedSpec) -> Tensor:
    """Where the grid ends, and how: a channel for each kind of end that it has."""
    marks = torch.zeros(len(spec.boundary_kinds), *spec.grid_shape)
    for mark, kind in zip(marks, spec.boundary_kinds, strict=True):
        for axis, kind_of_axis in enumerate(spec.boundary):
            if kind_of_axis == kind:
                mark.movedim(axis, 0)[[0, -1]] = 1
    return marks
