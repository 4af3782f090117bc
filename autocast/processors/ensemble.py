"""The ensemble processor: a network told of noise, trained so that its members are a calibrated forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.layout import fold_members, unfold_members
from autocast.losses.ensemble import crps
from autocast.nn.backbone import Backbone
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec


class Ensemble(Processor):
    """One network evaluation per member; each member is told of its own `noise_features` normal numbers.

    Trained by the almost fair CRPS of `n_members_train` members of every input, point by point.

    References:
        | AIFS-CRPS: Ensemble forecasting using a model trained with a CRPS-based loss function (Lang et al., 2024)
        | https://arxiv.org/abs/2412.15832
        | Skillful joint probabilistic weather forecasting from marginals (Alet et al., 2025)
        | https://arxiv.org/abs/2506.10772
    """

    deterministic: ClassVar[bool] = False

    def __init__(
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        increment: bool = True,
        n_members_train: int = 2,
        noise_features: int = 32,
        alpha: float = 0.95,
    ) -> None:
        super().__init__(spec, increment=increment)
        if n_members_train < 2:
            raise ConfigError(
                f"processor.n_members_train={n_members_train}: spread is learned from members of one input. "
                "Set 2 or more."
            )
        if noise_features < 1:
            raise ConfigError(
                f"processor.noise_features={noise_features}: members differ by their noise. Set 1 or more."
            )
        self._n_members_train = n_members_train
        self._noise_features = noise_features
        self._alpha = alpha
        self.backbone = self._build(backbone, extra_features=noise_features)

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,
    ) -> Float[Tensor, ""]:
        n_members = self._n_members_train
        vectors = fold_members(noise.normal(n_members, self._noise_features, like=x))
        past = self._past(x, condition).repeat_interleave(n_members, dim=0)
        members = self.backbone(past, self._features(vectors, condition.repeat(n_members), vectors))
        return crps(unfold_members(members, n_members), self._target(x, y), self._alpha).mean()

    def sample(self, x: Float[Tensor, "b ti *s ci"], condition: Condition, noise: Noise) -> Float[Tensor, "b to *s co"]:
        vectors = noise.normal(self._noise_features, like=x)
        return self._forecast(x, self.backbone(self._past(x, condition), self._features(x, condition, vectors)))
