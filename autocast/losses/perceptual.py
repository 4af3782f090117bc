"""The perceptual term: reconstructions are compared by features in which what is seen counts, not point by point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from autocast.errors import ConfigError
from autocast.losses.annealing import Number
from autocast.losses.features import (
    EncoderFeatures,
    Features,
    LearnedDistance,
    LocalSpectra,
    RandomConvolutions,
    VGGFeatures,
)
from autocast.losses.terms import Coded, Reconstructing, Term, named_device
from autocast.nn.vgg import VGG16, VGG19
from autocast.types import FieldSpec

ENCODER, RANDOM_CONV, SPECTRAL, LEARNED = "encoder", "random_conv", "spectral", "lpips"
KINDS = (ENCODER, RANDOM_CONV, SPECTRAL, VGG16, VGG19, LEARNED)
"""What fields can be compared by."""


class Perceptual(Term):
    """A distance of features, the mean over layers.

    - `encoder`: squared difference of what the autoencoder's own encoder makes of both, over the variance of what it
      makes of the truth. The encoder learns nothing from being looked through; but what it makes of fields changes
      while it is trained, so that validation leaves the term out.
    - `random_conv`: the same of a convolutional network with random weights.
    - `spectral`: difference of the logarithms of the power in bands of wavenumber, in windows of 16 points.
    - `vgg16`: absolute difference.
    - `vgg19`: squared difference over the variance of the truth's.
    - `lpips`: LPIPS; without a `weights_file` it is `random_conv`.

    Its value counts for every number of a frame, so a weight means the same beside that of a squared error whether the
    objective sums or averages over a frame. Networks are no part of the term's weights, are made when they are first
    needed, and compute in single precision; the encoder does so in the training's precision,
    without dropout.

    The last three are for fields in two dimensions. They see one channel at a time, as a grey image, but three
    channels together, as an RGB image.

    Args:
        features: One of the above.
        layers: Which layers: of the encoder and of random convolutions from 0, the finest, on (None is all); of a VGG
            the indices of torchvision's `features` (None is the last ReLU of the first four blocks of VGG16, the first
            ReLU of all five of VGG19).
        weights_file: Weights of the last three, as torchvision (`vgg16-397923af.pth`, `vgg19-dcbb9e9d.pth`) and lpips
            publish them: for `lpips` one file with all of it, or a list of that of VGG16 and that of the heads. The
            others need none and leave it.
        value_range: What normalised fields are black and white at, for images.
        device: Where networks and spectra are computed, such as "cuda:1"; None is where the fields are. The encoder
            stays where it is.
        seed: Of random convolutions.

    References:
        | The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al., 2018)
        | https://arxiv.org/abs/1801.03924
        | Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al., 2016)
        | https://arxiv.org/abs/1603.08155
    """

    def __init__(
        self,
        *,
        features: str = ENCODER,
        layers: Sequence[int] | None = None,
        weights_file: str | Sequence[str] | None = None,
        value_range: Sequence[Number] = (-1, 1),
        device: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if features not in KINDS:
            raise ConfigError(f"the perceptual term: features={features}: there are {', '.join(KINDS)}.")
        files = [weights_file] if isinstance(weights_file, str) else list(weights_file or [])
        self._falls_back = features == LEARNED and not files
        self.kind = RANDOM_CONV if self._falls_back else features
        self.keeps_meaning = self.kind != ENCODER
        self.device = None if device is None else named_device("perceptual.device", device)
        self.features = _make(self.kind, layers, files, _checked_range(value_range), seed)

    @property
    def detail(self) -> str:
        return f"{self.kind}: no weights file" if self._falls_back else self.kind

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        self.features.attach(autoencoder, spec)

    def prepare(self) -> None:
        self.features.prepare()

    def measure(self, coded: Coded) -> Float[Tensor, "n *s c"]:
        x, r = coded.x, coded.reconstruction
        device = x.device if self.device is None or self.kind == ENCODER else self.device
        distance = self.features.distance(x.to(device), r.to(device)).to(r.device)
        return distance.reshape(-1, *[1] * (r.ndim - 1)).expand_as(r)


def _make(
    kind: str, layers: Sequence[int] | None, files: list[str], value_range: tuple[Number, Number], seed: int
) -> Features:
    makes: dict[str, Callable[[], Features]] = {
        ENCODER: lambda: EncoderFeatures(layers),
        RANDOM_CONV: lambda: RandomConvolutions(layers, seed),
        SPECTRAL: LocalSpectra,
        VGG16: lambda: VGGFeatures(VGG16, layers, files, value_range),
        VGG19: lambda: VGGFeatures(VGG19, layers, files, value_range),
        LEARNED: lambda: LearnedDistance(files, value_range),
    }
    if layers is not None and kind in (SPECTRAL, LEARNED):
        raise ConfigError(
            f"the perceptual term: layers={list(layers)}: {kind} has no layers to choose from. Set layers=null."
        )
    if layers is not None and (not layers or min(layers) < 0 or len(set(layers)) < len(layers)):
        raise ConfigError(
            f"the perceptual term: layers={list(layers)}: different numbers from 0 on are wanted, or null."
        )
    return makes[kind]()


def _checked_range(value_range: Sequence[Any]) -> tuple[Number, Number]:
    if len(value_range) != 2 or value_range[0] >= value_range[1]:
        raise ConfigError(
            f"the perceptual term: value_range={list(value_range)}: two numbers are wanted, the smaller one first."
        )
    return value_range[0], value_range[1]
