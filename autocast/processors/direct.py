"""The deterministic processor: the network's output is the forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.losses.reconstruction import mae, mse
from autocast.nn.backbone import Backbone
from autocast.processors.processor import Processor
from autocast.types import Condition, EncodedSpec

_LOSSES = {"mse": mse, "mae": mae}


class Direct(Processor):
    """Regression of the next steps by mean squared ("mse") or absolute ("mae") error."""

    deterministic: ClassVar[bool] = True

    def __init__(
        self, spec: EncodedSpec, *, backbone: Callable[..., Backbone], increment: bool = True, loss: str = "mse"
    ) -> None:
        super().__init__(spec, increment=increment)
        if loss not in _LOSSES:
            raise ConfigError(f"processor.loss={loss}: unknown. Choose one of {', '.join(_LOSSES)}.")
        self.backbone = self._build(backbone)
        self._distance = _LOSSES[loss]

    def loss(
        self,
        x: Float[Tensor, "b ti *s ci"],
        y: Float[Tensor, "b to *s co"],
        condition: Condition,
        noise: Noise,  # noqa: ARG002
    ) -> Float[Tensor, ""]:
        return self._distance(self._network(x, condition), self._target(x, y))

    def sample(
        self,
        x: Float[Tensor, "b ti *s ci"],
        condition: Condition,
        noise: Noise,  # noqa: ARG002
    ) -> Float[Tensor, "b to *s co"]:
        return self._forecast(x, self._network(x, condition))

    def _network(self, x: Tensor, condition: Condition) -> Tensor:
        return self.backbone(self._past(x, condition), self._features(x, condition))
