"""The ensemble processor: a network told of noise, trained so that its members are a calibrated forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.losses.ensemble import crps_of_deviations
from autocast.nn.backbone import Backbone
from autocast.processors.regression import Regression
from autocast.types import EncodedSpec


class Ensemble(Regression):
    """One network evaluation per member; each member is told of its own `noise_features` normal numbers.

    Trained by the almost fair CRPS of `n_members_train` members of every input, point by point. Over several windows
    the members keep their own pasts and get new noise in each.

    Args:
        n_members_train: members of every input in training.
        noise_features: normal numbers that the whole of a member's forecast depends on.
        noise_channels: fields of white noise beside the past, for uncertainty that is local.
        alpha: of the CRPS: 0 is plain, 1 is fair, between them almost fair.

    See `Regression` for the other arguments.

    References:
        | AIFS-CRPS: Ensemble forecasting using a model trained with a CRPS-based loss function (Lang et al., 2024)
        | https://arxiv.org/abs/2412.15832
        | Skillful joint probabilistic weather forecasting from marginals (Alet et al., 2025)
        | https://arxiv.org/abs/2506.10772
    """

    deterministic: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        increment: bool = True,
        n_members_train: int = 2,
        members_per_call: int | None = None,
        noise_features: int = 32,
        noise_channels: int = 0,
        alpha: float = 0.95,
        condition_noise: float = 0.0,
        pushforward: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        if n_members_train < 2:
            raise ConfigError(
                f"processor.n_members_train={n_members_train}: spread is learned from members of one input. "
                "Set 2 or more."
            )
        if min(noise_features, noise_channels) < 0 or noise_features + noise_channels < 1:
            raise ConfigError(
                f"processor.noise_features={noise_features}, noise_channels={noise_channels}: members differ by their "
                "noise. Set one of them to 1 or more."
            )
        if not 0 <= alpha <= 1:
            raise ConfigError(f"processor.alpha={alpha}: must be between 0 (plain CRPS) and 1 (fair).")
        super().__init__(
            spec,
            backbone=backbone,
            increment=increment,
            condition_noise=condition_noise,
            pushforward=pushforward,
            gradient_checkpointing=gradient_checkpointing,
            n_members=n_members_train,
            members_per_call=members_per_call,
            noise_features=noise_features,
            noise_channels=noise_channels,
        )
        self._alpha = alpha

    def distance(
        self,
        deviations: Float[Tensor, "b m to *s co"],
        truth: Float[Tensor, "b to *s co"],  # noqa: ARG002
    ) -> Float[Tensor, ""]:
        return crps_of_deviations(deviations, self._alpha).mean()
