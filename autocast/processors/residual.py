"""The residual processor: a deterministic prediction, and a generative correction of what it cannot know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.layout import split_frames, steps_to_channels
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec


class Residual(Processor):
    """Forecasts `prediction + residual_scale * correction`, both trained at once, each on its own loss.

    The correction sees the prediction as constant fields and learns the distribution of the truth less the prediction,
    divided for each channel by a running root mean square. No gradient goes from it to the prediction. The scale moves
    with every batch in training: with the loss of a network in training mode, where gradients are wanted. Accumulated
    batches move it one after the other.

    Args:
        spec: the encoded steps that it maps.
        prediction: a deterministic processor, to be completed with shapes.
        correction: a generative processor without increments, to be completed with shapes.
        condition_noise: standard deviation of the normal noise on the past in training, which both see.
        decay: how much of the running mean square is kept in a training step.

    References:
        | Residual Corrective Diffusion Modeling for Km-scale Atmospheric Downscaling (Mardani et al., 2023)
        | https://arxiv.org/abs/2309.15214
    """

    deterministic: ClassVar[bool] = False
    residual_scale: Tensor

    def __init__(
        self,
        spec: EncodedSpec,
        *,
        prediction: Callable[[EncodedSpec], Processor],
        correction: Callable[[EncodedSpec], Processor],
        condition_noise: float = 0.02,
        decay: float = 0.99,
    ) -> None:
        super().__init__(spec, increment=False, condition_noise=condition_noise)
        if not 0 <= decay < 1:
            raise ConfigError(f"processor.decay={decay}: must be at least 0 and less than 1.")
        n_predicted = spec.n_steps_output * spec.n_channels_output
        seen = dataclasses.replace(spec, n_constant_channels=spec.n_constant_channels + n_predicted)
        self.prediction = _checked_prediction(prediction(spec))
        self.correction = _checked_correction(correction(seen))
        self._decay = decay
        self.register_buffer("residual_scale", torch.ones(spec.n_channels))

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        x = self._noised(x, noise)
        predicting = self.prediction.loss(x, y, condition, noise)
        predicted = self._predicted(x, condition, noise)
        residual = y - predicted
        correcting = self.correction.loss(x, residual / self._scales(), _beside(condition, predicted), noise)
        if self.training and torch.is_grad_enabled():
            self._follow(residual)
        return predicting + correcting

    @property
    def n_solver_steps(self) -> int:
        return self.prediction.n_solver_steps + self.correction.n_solver_steps

    def draw(self, x: Float[Tensor, "b ti *s ci"], noise: Noise) -> tuple[Any, Any]:
        return self.prediction.draw(x, noise), self.correction.draw(x, noise)

    def forward(
        self, x: Float[Tensor, "b ti *s ci"], condition: Condition, drawn: tuple[Any, Any]
    ) -> Float[Tensor, "b to *s co"]:
        for_prediction, for_correction = drawn
        with torch.no_grad():
            predicted = self.prediction(x, condition, for_prediction)
        return predicted + self._scales() * self.correction(x, _beside(condition, predicted), for_correction)

    def set_increment_scale(self, scale: Float[Tensor, " c"]) -> None:
        """Sets what the prediction's increments are divided by. Before anything is learned that is the residual too."""
        super().set_increment_scale(scale)
        self.prediction.set_increment_scale(scale)
        self.residual_scale.copy_(self.increment_scale)

    @torch.no_grad()
    def _predicted(self, x: Tensor, condition: Condition, noise: Noise) -> Tensor:
        return self.prediction.sample(x, condition, noise)

    def _scales(self) -> Tensor:
        """Of the channels of an output step; a copy, since the buffer moves before gradients are computed."""
        return self.residual_scale.repeat(self.spec.n_frames_output)

    @torch.no_grad()
    def _follow(self, residual: Tensor) -> None:
        """Moves the scale towards that of a batch, the global one where there are several ranks."""
        squares = split_frames(residual, self.spec.n_channels).flatten(0, -2).square()
        sums = torch.cat([squares.sum(dim=0), squares.new_tensor([len(squares)])]).float()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        mean_square = torch.lerp(sums[:-1] / sums[-1], self.residual_scale.square(), self._decay)
        self.residual_scale.copy_(mean_square.sqrt().clamp(min=1e-6))


def _beside(condition: Condition, predicted: Tensor) -> Condition:
    """The condition with a prediction `(B, To, *S, Co)` among its fields."""
    fields = steps_to_channels(predicted).movedim(1, -1)
    if condition.fields is not None:
        fields = torch.cat([condition.fields, fields], dim=-1)
    return Condition(condition.scalars, fields)


def _checked_prediction(processor: Processor) -> Processor:
    if not processor.deterministic:
        raise ConfigError(
            f"processor.prediction: {type(processor).__name__} draws its forecasts, and a prediction is one forecast. "
            "Choose a deterministic processor such as direct."
        )
    return processor


def _checked_correction(processor: Processor) -> Processor:
    if processor.deterministic:
        raise ConfigError(
            f"processor.correction: {type(processor).__name__} has one forecast, and a correction is drawn. "
            "Choose flow_matching or diffusion."
        )
    if processor.increment:
        raise ConfigError(
            "processor.correction.increment=true: a correction is what the prediction leaves, no increment over the "
            "last frame. Set it to false."
        )
    return processor
