"""The diffusion processor: forecasts are drawn by taking away noise, level by level, as a learned denoiser says."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.parametrisations import Parametrisation
from autocast.generative.priors import TimePrior
from autocast.generative.samplers import Sampler, Start
from autocast.generative.schedules import Schedule
from autocast.losses.reconstruction import mse
from autocast.nn.backbone import Backbone
from autocast.nn.compilation import call_again
from autocast.nn.conditioning import sinusoidal_embedding
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec


class Drawn(NamedTuple):
    """The random numbers of a forecast."""

    past: Tensor | None
    """Like the past, which they are added to; None where it is seen as it is."""
    start: Start


class Diffusion(Processor):
    """Draws the next steps given the past, which the denoising network sees beside the noised steps as channels.

    The network is told `ln(sigma) / 4`. Forecasts follow the probability flow on the straight path, which the schedule
    divides into steps (see `autocast.generative.schedules`): as many network calls as the sampler documents.

    Args:
        spec: the encoded steps that it maps.
        backbone: the denoising network, to be completed with shapes.
        sampler: how the flow is integrated; may be set anew at any time.
        schedule: the levels of noise that are sampled through, and may be set anew; training stays between its ends.
        parametrisation: what the network sees and answers; the loss is the mean squared error of the answer.
        increment: whether the target is the increment over the last frame.
        condition_noise: standard deviation of the normal noise on the past in training.
        noised_conditioning: whether the past gets as much noise as the target, in training and in sampling, where one
            draw serves all levels (Kohl et al.): errors of a rollout drown in it. Without `increment` only.
        time_features: size of the embedding of the level of noise, an even number.
        time_prior: which levels are trained at; None is all times of the schedule alike.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
        | Benchmarking Autoregressive Conditional Diffusion Models for Turbulent Flow Simulation (Kohl et al., 2023)
        | https://arxiv.org/abs/2309.01745
    """

    deterministic: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        sampler: Sampler,
        schedule: Schedule,
        parametrisation: Parametrisation,
        increment: bool = True,
        condition_noise: float = 0.02,
        noised_conditioning: bool = False,
        time_features: int = 32,
        time_prior: TimePrior | None = None,
    ) -> None:
        super().__init__(spec, increment=increment, condition_noise=condition_noise)
        if time_features < 2 or time_features % 2:
            raise ConfigError(f"processor.time_features={time_features}: must be even and at least 2.")
        if noised_conditioning and increment:
            raise ConfigError(
                "processor.noised_conditioning=true: the past drowns in noise, but an increment is added to its last "
                "frame as it is, errors and all. Set processor.increment=false as well."
            )
        self.sampler = sampler
        self.schedule = schedule
        self._parametrisation = parametrisation
        self._noised_conditioning = noised_conditioning
        self._time_features = time_features
        self._time_prior = time_prior
        self._n_targets = spec.n_steps_output * spec.n_channels_output
        self.backbone = self._build(backbone, extra_channels=self._n_targets, extra_features=time_features)

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        x = self._noised(x, noise)
        x_1 = self._target(x, y)
        eps = noise.normal(*x_1.shape[1:], like=x_1)
        sigma = self._training_sigma(noise, x_1)
        past = self._past_over_sigma(x, condition, self._draw_for_past(x, noise))
        level = _per_row(sigma, x_1)
        answer = self._answer(x_1 + level * eps, sigma, past(sigma), condition)
        return mse(answer, self._parametrisation.target(x_1, eps, level))

    @property
    def n_solver_steps(self) -> int:
        return self.sampler.n_steps

    def draw(self, x: Float[Tensor, "b ti *s ci"], noise: Noise) -> Drawn:
        begin = self.schedule.path_times(1)[0]
        x_0 = (1 - begin) * noise.normal(self._n_targets, *self.spec.grid_shape, like=x)
        past = self._draw_for_past(x, noise)
        return Drawn(past, self.sampler.start(x_0, times=self.schedule.path_times, noise=noise))

    def forward(
        self, x: Float[Tensor, "b ti *s ci"], condition: Condition, drawn: Drawn
    ) -> Float[Tensor, "b to *s co"]:
        past = self._past_over_sigma(x, condition, drawn.past)

        def velocity(x_t: Tensor, t: float) -> Tensor:
            sigma = x_t.new_full((x_t.shape[0],), 1 / t - 1)
            noised = x_t / t
            answer = self._answer(noised, sigma, past(sigma), condition)
            x_hat, eps_hat = self._parametrisation.estimates(noised, answer, _per_row(sigma, x_t))
            return x_hat - eps_hat

        return self._forecast(x, self.sampler.solve(velocity, drawn.start))

    def _training_sigma(self, noise: Noise, like: Tensor) -> Tensor:
        """One level of noise per row, between the ends of the schedule."""
        if self._time_prior is None:
            return self.schedule.sigma(noise.uniform(like=like))
        return 1 / self._time_prior(noise, like).clamp(*self.schedule.path_times(1)) - 1

    def _draw_for_past(self, x: Tensor, noise: Noise) -> Tensor | None:
        return noise.normal(*x.shape[1:], like=x) if self._noised_conditioning else None

    def _past_over_sigma(self, x: Tensor, condition: Condition, eps: Tensor | None) -> Callable[[Tensor], Tensor]:
        """What is seen of the past beside a target with noise of `sigma (B,)`; `eps` is the noise on it, if any."""
        if eps is None:
            image = self._past(x, condition)
            return lambda sigma: image  # noqa: ARG005

        def noised(sigma: Tensor) -> Tensor:
            level = _per_row(sigma, x)
            return self._past((x + level * eps) * (1 + level**2).rsqrt(), condition)

        return noised

    def _answer(self, noised: Tensor, sigma: Tensor, past: Tensor, condition: Condition) -> Tensor:
        seen = noised * self._parametrisation.scale(_per_row(sigma, noised))
        features = self._features(seen, condition, sinusoidal_embedding(sigma.log() / 4, self._time_features))
        return call_again(self.backbone, torch.cat([seen, past], dim=1), features)


def _per_row(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.reshape(-1, *[1] * (like.ndim - 1))
