"""The flow-matching processor: forecasts are drawn by following a learned velocity from noise to data."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.paths import linear_path
from autocast.generative.priors import TimePrior, Uniform
from autocast.generative.samplers import Sampler, Start
from autocast.losses.reconstruction import mse
from autocast.nn.backbone import Backbone
from autocast.nn.compilation import call_again
from autocast.nn.conditioning import sinusoidal_embedding
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec


class FlowMatching(Processor):
    """Draws the next steps given the past, which the velocity network sees beside `x_t` as channels.

    Args:
        spec: the encoded steps that it maps.
        backbone: the velocity network, to be completed with shapes.
        sampler: how the velocity is integrated; may be set anew at any time.
        increment: whether the target is the increment over the last frame.
        condition_noise: standard deviation of the normal noise on the past in training.
        time_features: size of the embedding of time, an even number.
        time_prior: which times are trained at; None is all alike.

    References:
        | Flow Matching for Generative Modeling (Lipman et al., 2022)
        | https://arxiv.org/abs/2210.02747
    """

    deterministic: ClassVar[bool] = False

    def __init__(
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        sampler: Sampler,
        increment: bool = True,
        condition_noise: float = 0.02,
        time_features: int = 32,
        time_prior: TimePrior | None = None,
    ) -> None:
        super().__init__(spec, increment=increment, condition_noise=condition_noise)
        if time_features < 2 or time_features % 2:
            raise ConfigError(f"processor.time_features={time_features}: must be even and at least 2.")
        self.sampler = sampler
        self._time_features = time_features
        self._time_prior = Uniform() if time_prior is None else time_prior
        n_targets = spec.n_steps_output * spec.n_channels_output
        self.backbone = self._build(backbone, extra_channels=n_targets, extra_features=time_features)

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        x = self._noised(x, noise)
        x_1 = self._target(x, y)
        x_0 = noise.normal(*x_1.shape[1:], like=x_1)
        t = self._time_prior(noise, x_1)
        x_t, velocity = linear_path(x_0, x_1, t)
        return mse(self._velocity(x_t, t, self._past(x, condition), condition), velocity)

    @property
    def n_solver_steps(self) -> int:
        return self.sampler.n_steps

    def draw(self, x: Float[Tensor, "b ti *s ci"], noise: Noise) -> Start:
        x_0 = noise.normal(self.spec.n_steps_output * self.spec.n_channels_output, *self.spec.grid_shape, like=x)
        return self.sampler.start(x_0, noise=noise)

    def forward(
        self, x: Float[Tensor, "b ti *s ci"], condition: Condition, drawn: Start
    ) -> Float[Tensor, "b to *s co"]:
        past = self._past(x, condition)

        def velocity(x_t: Tensor, t: float) -> Tensor:
            return self._velocity(x_t, x_t.new_full((x_t.shape[0],), t), past, condition)

        return self._forecast(x, self.sampler.solve(velocity, drawn))

    def _velocity(self, x_t: Tensor, t: Tensor, past: Tensor, condition: Condition) -> Tensor:
        features = self._features(x_t, condition, sinusoidal_embedding(t, self._time_features))
        return call_again(self.backbone, torch.cat([x_t, past], dim=1), features)
