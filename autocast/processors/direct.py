"""The deterministic processor: the network's output is the forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.losses.reconstruction import vmse
from autocast.nn.backbone import Backbone
from autocast.processors.regression import Regression
from autocast.types import EncodedSpec

_LOSSES = ("mse", "mae", "vmse")


class Direct(Regression):
    """Regression of the next steps by mean squared ("mse") or absolute ("mae") error, or by the squared error over the
    variance of the true field ("vmse").

    See `Regression` for the other arguments.
    """

    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        spec: EncodedSpec,
        *,
        backbone: Callable[..., Backbone],
        increment: bool = True,
        loss: str = "mse",
        condition_noise: float = 0.0,
        pushforward: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(
            spec,
            backbone=backbone,
            increment=increment,
            condition_noise=condition_noise,
            pushforward=pushforward,
            gradient_checkpointing=gradient_checkpointing,
        )
        if loss not in _LOSSES:
            raise ConfigError(f"processor.loss={loss}: unknown. Choose one of {', '.join(_LOSSES)}.")
        self._loss = loss

    def distance(
        self, deviations: Float[Tensor, "b m to *s co"], truth: Float[Tensor, "b to *s co"]
    ) -> Float[Tensor, ""]:
        if self._loss == "vmse":
            return vmse(deviations * self._output_scale, truth, self.spec.n_spatial_dims)
        return (deviations.abs() if self._loss == "mae" else deviations.square()).mean()
