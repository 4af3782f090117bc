"""What encoders promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.decoder import Decoder
from autocast.errors import ConfigError
from autocast.types import FieldSpec


class Encoder(nn.Module, ABC):
    """Normalised fields to encoded steps; constant fields and scalars are not its business.

    Attributes:
        spec: the fields that it encodes.
        n_channels: channels of one encoded frame.
        grid_shape: the grid of an encoded step.
        periodic: which axes of that grid are periodic.
        merges_frames: whether all frames become the channels of one encoded step.
        latent_bound: what no encoded value exceeds in size; None where there is no such bound.
    """

    merges_frames: ClassVar[bool]

    def __init__(
        self,
        spec: FieldSpec,
        *,
        n_channels: int,
        grid_shape: tuple[int, ...],
        latent_bound: float | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.n_channels = n_channels
        self.grid_shape = grid_shape
        self.periodic = spec.periodic
        self.latent_bound = latent_bound

    @abstractmethod
    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b te *se ce"]:
        """`(B, T, *S, C)` to `(B, T', *S', C')`."""

    def features(self, x: Float[Tensor, "b t *s c"]) -> list[Float[Tensor, "n k *sk"]]:  # noqa: ARG002
        """What its network makes of every frame, level by level from the finest grid to the coarsest.

        Raises:
            ConfigError: It has no levels.
        """
        raise ConfigError(
            f"encoder: {type(self).__name__} has no levels whose features could be compared. dc, kl and vector have."
        )

    @abstractmethod
    def mirror(self) -> Decoder:
        """A decoder with this encoder's architecture reversed."""


def check_divides(spec: FieldSpec, factor: int, key: str) -> None:
    """Whether a grid can be made `factor` times coarser.

    Raises:
        ConfigError: It cannot, along some axis; `key` names what asks for it.
    """
    bad = [f"{name}={n}" for name, n in zip(spec.dim_names, spec.grid_shape, strict=True) if n % factor]
    if bad:
        raise ConfigError(
            f"{key} makes the grid {factor} times coarser, which does not divide {', '.join(bad)} of "
            f"{spec.dataset_name}. Give fewer {key.rpartition('.')[2]} (each halves the grid), or use "
            "encoder=permute_concat or encoder=identity."
        )
