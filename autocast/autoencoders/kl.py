"""The autoencoder of latent diffusion models: residual blocks, attention on coarse grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder, check_divides
from autocast.errors import ConfigError
from autocast.layout import frames_to_images, images_to_frames
from autocast.nn.convolution import Convolution
from autocast.nn.resnet import Levels, ResNetDown, ResNetUp
from autocast.types import FieldSpec


class KLEncoder(Encoder):
    """Each frame `(*S, C)` to `(*S / 2**(n - 1), embed_dim)`, n the number of `ch_mult`.

    Named after what it is used with: `bottleneck=gaussian`. Periodic axes are padded periodically.

    Args:
        spec: Of the fields.
        base_ch: Channels of the finest level.
        ch_mult: Channels of every level, as multiples of `base_ch`; each but the first halves the grid.
        num_res_blocks: Of every level.
        attn_resolutions: Grids with attention, by the number of points of their longest axis.
        z_channels: Of the network's output.
        embed_dim: Channels of the latents, a linear map of those; None is `z_channels`.
        dropout: In residual blocks.
        use_attention: Whether the middle of the coarsest level has attention.

    References:
        | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2021)
        | https://arxiv.org/abs/2112.10752
    """

    merges_frames: ClassVar[bool] = False

    def __init__(
        self,
        spec: FieldSpec,
        *,
        base_ch: int = 128,
        ch_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        z_channels: int = 4,
        embed_dim: int | None = None,
        dropout: float = 0.0,
        use_attention: bool = True,
    ) -> None:
        _check(base_ch, ch_mult, num_res_blocks)
        check_divides(spec, 2 ** (len(ch_mult) - 1), "encoder.ch_mult")
        shapes = tuple(tuple(n // 2**level for n in spec.grid_shape) for level in range(len(ch_mult)))
        super().__init__(spec, n_channels=z_channels if embed_dim is None else embed_dim, grid_shape=shapes[-1])
        self.z_channels = z_channels
        self.levels = Levels(
            grid_shapes=shapes,
            periodic=spec.periodic,
            widths=tuple(base_ch * factor for factor in ch_mult),
            n_blocks=num_res_blocks,
            attention=tuple(max(shape) in attn_resolutions for shape in shapes),
            middle_attention=use_attention,
            dropout=dropout,
        )
        self.network = ResNetDown(spec.n_channels, z_channels, self.levels)
        self.embedding = Convolution(z_channels, self.n_channels, 1, periodic=spec.periodic)

    def encode(self, x: Float[Tensor, "b t *s c"]) -> Float[Tensor, "b t *se ce"]:
        return images_to_frames(self.embedding(self.network(frames_to_images(x))), x.shape[1])

    def features(self, x: Float[Tensor, "b t *s c"]) -> list[Float[Tensor, "n k *sk"]]:
        return self.network.features(frames_to_images(x))

    def mirror(self) -> KLDecoder:
        return KLDecoder(self)


class KLDecoder(Decoder):
    """The encoder's layers in the opposite order."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, KLEncoder):
            raise ConfigError(
                f"decoder=kl cannot decode what {type(encoder).__name__} encodes. "
                "Use it with encoder=kl, or choose decoder=null for the encoder's mirror."
            )
        self.embedding = Convolution(encoder.n_channels, encoder.z_channels, 1, periodic=encoder.periodic)
        self.network = ResNetUp(encoder.z_channels, encoder.spec.n_channels, encoder.levels)

    @property
    def last_weight(self) -> nn.Parameter:
        return self.network.last_weight

    def decode(self, z: Float[Tensor, "b t *se ce"]) -> Float[Tensor, "b t *s c"]:
        return images_to_frames(self.network(self.embedding(frames_to_images(z))), z.shape[1])


def _check(base_ch: int, ch_mult: Sequence[int], num_res_blocks: int) -> None:
    if not ch_mult or min(ch_mult) < 1 or base_ch < 2 or base_ch % 2 or num_res_blocks < 1:
        raise ConfigError(
            f"encoder.base_ch={base_ch}, encoder.ch_mult={list(ch_mult)}, encoder.num_res_blocks={num_res_blocks}: an "
            "even number of channels, at least one level, and at least 1 everywhere are needed."
        )
