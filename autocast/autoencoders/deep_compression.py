"""The deep-compression autoencoder: every frame on a coarser grid with more channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder, check_divides
from autocast.errors import ConfigError
from autocast.layout import frames_to_images, images_to_frames
from autocast.nn.deep_compression import DeepCompressionDown, DeepCompressionUp, saturate
from autocast.types import FieldSpec


class DeepCompressionEncoder(Encoder):
    """Each frame `(*S, C)` to `(*S / 2**n, latent_channels)`, n the number of `widths`.

    Periodic axes are padded periodically; latents are bounded by `saturation` (None leaves them free). A `shortcut`
    around every stage but the first, without parameters, is for networks of three stages and more.
    """

    merges_frames: ClassVar[bool] = False

    def __init__(
        self,
        spec: FieldSpec,
        *,
        widths: Sequence[int] = (32, 64),
        blocks: Sequence[int] = (1, 2),
        latent_channels: int = 16,
        saturation: float | None = 5.0,
        shortcut: bool = False,
    ) -> None:
        _check_stages("encoder", widths, blocks)
        factor = 2 ** len(widths)
        check_divides(spec, factor, "encoder.widths")
        if shortcut:
            _check_shortcut("encoder", widths, spec.n_spatial_dims)
        coarse = tuple(n // factor for n in spec.grid_shape)
        super().__init__(spec, n_channels=latent_channels, grid_shape=coarse, latent_bound=saturation)
        self.widths, self.blocks, self.shortcut = tuple(widths), tuple(blocks), shortcut
        self.network = DeepCompressionDown(
            spec.n_channels,
            latent_channels,
            periodic=spec.periodic,
            widths=self.widths,
            blocks=self.blocks,
            shortcut=shortcut,
        )

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *se ce"]:
        z = images_to_frames(self.network(frames_to_images(x)), x.shape[1])
        return z if self.latent_bound is None else saturate(z, self.latent_bound)

    def features(self, x: Float[Tensor, "b t *s c"]) -> list[Float[Tensor, "n k *sk"]]:
        return self.network.features(frames_to_images(x))

    def mirror(self) -> DeepCompressionDecoder:
        return DeepCompressionDecoder(self)


class DeepCompressionDecoder(Decoder):
    """The encoder's layers in the opposite order; other `widths`, `blocks` and `shortcut` only where they are given.

    They are listed as the encoder's are, from the finest stage to the coarsest.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        widths: Sequence[int] | None = None,
        blocks: Sequence[int] | None = None,
        shortcut: bool | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, DeepCompressionEncoder):
            raise ConfigError(
                f"decoder=dc cannot decode what {type(encoder).__name__} encodes. "
                "Use it with encoder=dc, or choose decoder=null for the encoder's mirror."
            )
        widths = encoder.widths if widths is None else tuple(widths)
        blocks = encoder.blocks if blocks is None else tuple(blocks)
        shortcut = encoder.shortcut if shortcut is None else shortcut
        _check_stages("decoder", widths, blocks)
        if len(widths) != len(encoder.widths):
            raise ConfigError(
                f"decoder.widths={list(widths)} has {len(widths)} stages, but encoder.widths={list(encoder.widths)} "
                f"has {len(encoder.widths)}, each halving the grid. Give as many, "
                "or decoder.widths=null for the encoder's."
            )
        if shortcut:
            _check_shortcut("decoder", widths, encoder.spec.n_spatial_dims)
        self.network = DeepCompressionUp(
            encoder.n_channels,
            encoder.spec.n_channels,
            periodic=encoder.periodic,
            widths=widths,
            blocks=blocks,
            shortcut=shortcut,
        )

    @property
    def last_weight(self) -> nn.Parameter:
        return self.network.last_weight

    def decode(self, z: Float[Tensor, "b t *se ce"]) -> Float[Tensor, "b t *s c"]:
        return images_to_frames(self.network(frames_to_images(z)), z.shape[1])


def _check_stages(part: str, widths: Sequence[int], blocks: Sequence[int]) -> None:
    if not widths or len(widths) != len(blocks):
        raise ConfigError(
            f"{part}.widths={list(widths)} and {part}.blocks={list(blocks)}: one width and one number of blocks per "
            "stage are needed, and at least one stage. Give lists of the same length."
        )
    if min(widths) < 1 or min(blocks) < 0:
        raise ConfigError(
            f"{part}.widths={list(widths)}, {part}.blocks={list(blocks)}: widths are at least 1, blocks 0."
        )


def _check_shortcut(part: str, widths: Sequence[int], n_dims: int) -> None:
    """A shortcut averages, or repeats, whole groups of channels."""
    for fine, coarse in pairwise(widths):
        if 2**n_dims * fine % coarse:
            raise ConfigError(
                f"{part}.shortcut=true, {part}.widths={list(widths)}: {2**n_dims} × {fine} channels cannot be averaged "
                f"to {coarse} in equal groups. Let each width divide {2**n_dims} times the one before it, or give "
                f"{part}.shortcut=false."
            )
