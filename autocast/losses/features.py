"""What the perceptual term compares fields by: each kind of features with its distance."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autocast.errors import ConfigError
from autocast.layout import frames_to_images
from autocast.losses.annealing import Number
from autocast.losses.local_spectra import band_powers
from autocast.losses.terms import Reconstructing
from autocast.nn.freezing import frozen
from autocast.nn.lpips import LPIPS, N_HALVINGS, published_lpips
from autocast.nn.published import make_published, read_tensors
from autocast.nn.random_features import RandomFeatures, n_levels
from autocast.nn.vgg import VGG, VGG16, VGG19, n_halvings, n_layers
from autocast.types import FieldSpec

Frames = Float[Tensor, "n *s c"]
Range = tuple[Number, Number]
Made = TypeVar("Made", bound=nn.Module)
DEFAULT_LAYERS = {VGG16: (3, 8, 15, 22), VGG19: (1, 6, 11, 20, 29)}
SMALLEST_VARIANCE = 1e-6
"""Added to the variance of features, which an empty field may not have."""
SMALLEST_POWER = 1e-4
"""Added to the power of bands: modes that are smaller than a hundredth of a normalised field's are alike."""


class Features(ABC):
    """A way to compare frames."""

    @abstractmethod
    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        """Takes what it needs to know of fields and networks.

        Raises:
            ConfigError: Such fields cannot be compared.
        """

    def prepare(self) -> None:  # noqa: B027 - most need none
        """Reads the files that it needs.

        Raises:
            ConfigError: A file is missing or is another than is wanted.
        """

    @abstractmethod
    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        """Of every frame from its reconstruction, on their device; there is no gradient for `x`."""


class Shared(Generic[Made]):
    """A network that never changes, made when it is first asked for: copies share it, and it is not pickled."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: dict[torch.device, Made] = {}

    def on(self, device: torch.device) -> Made:
        """The network, frozen and in the mode of evaluation."""
        if device not in self._made:
            others = next(iter(self._made.values()), None)
            network = self._make() if others is None else copy.deepcopy(others)
            try:
                self._made[device] = network.to(device).requires_grad_(False).eval()
            except (RuntimeError, AssertionError) as error:
                raise ConfigError(f"perceptual.device={device}: {str(error).splitlines()[0]}.") from error
        return self._made[device]

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared[Made]:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}


class EncoderFeatures(Features):
    """The levels of the autoencoder's own encoder, whose weights learn nothing from it: it could make its features
    small otherwise."""

    def __init__(self, layers: Sequence[int] | None) -> None:
        self._layers = layers

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:
        self._encoder = autoencoder.encoder
        blank: Any = copy.deepcopy(cast(nn.Module, self._encoder)).to("meta")  # no numbers: it only counts levels
        n = len(blank.features(torch.zeros(1, 1, *spec.grid_shape, spec.n_channels, device="meta")))
        self._layers = _chosen(self._layers, n, "the encoder")

    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        with _judging(cast(nn.Module, self._encoder)):
            with torch.no_grad():
                truth = self._encoder.features(x.unsqueeze(1))
            found = self._encoder.features(r.unsqueeze(1))
        assert self._layers is not None
        return _mean(_relative(truth[layer], found[layer]) for layer in self._layers)


class RandomConvolutions(Features):
    """The levels of a network with random weights, the same in every run with the same seed."""

    def __init__(self, layers: Sequence[int] | None, seed: int) -> None:
        self._layers = layers
        self._seed = seed

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:  # noqa: ARG002
        self._layers = _chosen(self._layers, n_levels(spec.grid_shape), f"random_conv on a grid of {spec.grid_shape}")
        make = partial(RandomFeatures, grid_shape=spec.grid_shape, periodic=spec.periodic, seed=self._seed)
        self._network: Shared[RandomFeatures] = Shared(partial(make, spec.n_channels))

    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        network = self._network.on(x.device)
        with _single_precision(x):
            truth, found = network(_images(x.detach())), network(_images(r))
            assert self._layers is not None
            return _mean(_relative(truth[layer], found[layer]) for layer in self._layers)


class LocalSpectra(Features):
    """Power in bands of wavenumber, window by window: it sees blur and where it is, and forgives what is out of phase.

    `SpectralError` compares every mode of the whole field instead.
    """

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:  # noqa: ARG002
        self._periodic = spec.periodic

    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        with _single_precision(x):
            truth, found = (band_powers(frames.float(), self._periodic) for frames in (x.detach(), r))
            logarithms = 0.5 * ((found + SMALLEST_POWER).log() - (truth + SMALLEST_POWER).log())  # of moduli
            return logarithms.abs().mean((1, 2, 3))


class PublishedFeatures(Features, Generic[Made]):
    """Features of a network whose weights are in files."""

    def __init__(
        self, name: str, files: Sequence[str], value_range: Range, read: Callable[[tuple[str, ...]], Made]
    ) -> None:
        if not files:
            raise ConfigError(
                f"the perceptual term: features={name}: its weights are published and not part of autocast. Give "
                "perceptual.weights_file=FILE, or features=random_conv, which needs none."
            )
        self._name = name
        self._range = value_range
        self._network: Shared[Made] = Shared(partial(read, tuple(files)))

    @property
    @abstractmethod
    def n_halvings(self) -> int:
        """How many times the network halves a grid."""

    def attach(self, autoencoder: Reconstructing, spec: FieldSpec) -> None:  # noqa: ARG002
        if spec.n_spatial_dims != 2:
            raise ConfigError(
                f"the perceptual term: features={self._name}: it looks at images, and {spec.dataset_name} has "
                f"{spec.n_spatial_dims} spatial dimensions. Set features=random_conv."
            )
        if min(spec.grid_shape) < 2**self.n_halvings:
            raise ConfigError(
                f"the perceptual term: features={self._name}: of a grid of {' × '.join(map(str, spec.grid_shape))} "
                f"points, {self.n_halvings} times halved, nothing is left. Choose finer layers, or "
                "features=random_conv."
            )

    def prepare(self) -> None:
        self._network.on(torch.device("cpu"))

    def _pictures(self, x: Frames, black: Number, white: Number) -> Float[Tensor, "ni 3 h w"]:
        """Images of three channels, with the fields' range mapped to another."""
        low, high = self._range
        images = black + (_images(x) - low) * ((white - black) / (high - low))
        return images if images.shape[1] == 3 else images.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)


class VGGFeatures(PublishedFeatures[VGG]):
    """Layers of a VGG network."""

    def __init__(self, name: str, layers: Sequence[int] | None, files: Sequence[str], value_range: Range) -> None:
        self._layers = _chosen(layers or DEFAULT_LAYERS[name], n_layers(name), name)
        super().__init__(name, files, value_range, partial(_read_vgg, name, self._layers))

    @property
    def n_halvings(self) -> int:
        return n_halvings(self._name, max(self._layers))

    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        network, compare = self._network.on(x.device), _absolute if self._name == VGG16 else _relative
        with _single_precision(x):
            truth, found = network(self._pictures(x.detach(), 0, 1)), network(self._pictures(r, 0, 1))
            distances = _mean(map(compare, truth, found))
        return _of_frames(distances, x)


class LearnedDistance(PublishedFeatures[LPIPS]):
    """LPIPS."""

    def __init__(self, files: Sequence[str], value_range: Range) -> None:
        super().__init__("lpips", files, value_range, _read_lpips)

    @property
    def n_halvings(self) -> int:
        return N_HALVINGS

    def distance(self, x: Frames, r: Frames) -> Float[Tensor, " n"]:
        network = self._network.on(x.device)
        with _single_precision(x):
            distances = network(self._pictures(x.detach(), -1, 1), self._pictures(r, -1, 1))
        return _of_frames(distances, x)


@contextmanager
def _judging(network: nn.Module) -> Iterator[None]:
    """Inside, it learns nothing and drops nothing out."""
    was_training = network.training
    network.eval()
    try:
        with frozen(network):
            yield
    finally:
        network.train(was_training)


def _read_vgg(name: str, layers: tuple[int, ...], files: tuple[str, ...]) -> VGG:
    return make_published(partial(VGG, name, layers), read_tensors(files), ", ".join(files))


def _read_lpips(files: tuple[str, ...]) -> LPIPS:
    return make_published(LPIPS, published_lpips(read_tensors(files)), ", ".join(files))


def _chosen(layers: Sequence[int] | None, n: int, what: str) -> tuple[int, ...]:
    if layers is not None and max(layers) >= n:
        raise ConfigError(f"the perceptual term: layers={list(layers)}: {what} has the layers 0 to {n - 1}.")
    return tuple(range(n)) if layers is None else tuple(layers)


def _images(x: Frames) -> Float[Tensor, "n c *s"]:
    return frames_to_images(x.float().unsqueeze(0))


def _single_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _mean(distances: Iterable[Float[Tensor, " n"]]) -> Float[Tensor, " n"]:
    return torch.stack(list(distances)).mean(0)


def _of_frames(distances: Float[Tensor, " ni"], x: Frames) -> Float[Tensor, " n"]:
    """The mean over the images of every frame."""
    return distances.unflatten(0, (x.shape[0], -1)).mean(1)


def _relative(truth: Float[Tensor, "n k *s"], found: Float[Tensor, "n k *s"]) -> Float[Tensor, " n"]:
    """Squared difference over the variance of the truth, both over all numbers of a layer: no scale changes it."""
    truth, found = truth.float().flatten(1), found.float().flatten(1)
    return (found - truth).square().mean(1) / (truth.var(1, correction=0) + SMALLEST_VARIANCE)


def _absolute(truth: Float[Tensor, "n k *s"], found: Float[Tensor, "n k *s"]) -> Float[Tensor, " n"]:
    return (found - truth).abs().flatten(1).mean(1)
