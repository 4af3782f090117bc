"""The assembled models: what training trains, evaluation scores and a user calls. They alone know physical units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autocast import layout
from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.latent_moments import LatentStatistics
from autocast.data.normaliser import Normaliser, fit_normaliser
from autocast.data.statistics import Moments, Statistics
from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.losses.annealing import Progress
from autocast.losses.objective import Adversary, Objective, mean_squared_error
from autocast.losses.reconstruction import mse
from autocast.losses.terms import Coded
from autocast.metrics.deterministic import mean_square, vrmse
from autocast.metrics.spectral import Grid, fine_energy, fine_energy_ratio
from autocast.nn.compilation import compile_module, compile_networks
from autocast.processors.processor import Processor
from autocast.rollout import AMBIENT, ENCODE_ONCE, LATENT, ROLLOUTS, rollout
from autocast.types import Batch, Condition, EncodedBatch, FieldSpec, LatentBatch

ROUGHEST = 10.0
"""Ratio of the fine structure that is told of a frame at most: one that is empty would drown the others."""
Step = Callable[[Tensor], Tensor]
"""From encoded steps to the next ones."""


def _as_it_is(x: Tensor) -> Tensor:
    return x


class FrozenAutoencoder(Autoencoder):
    """A trained autoencoder that training leaves alone.

    Copies of a model (the averaged weights) share it instead of copying it.
    """

    def __init__(self, autoencoder: Autoencoder):
        super().__init__(autoencoder.encoder, autoencoder.bottleneck, autoencoder.decoder)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenAutoencoder:  # noqa: ARG002
        super().train(False)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenAutoencoder:
        return self


class AutoencoderModel(nn.Module):
    """An autoencoder with the normaliser of its data: its "forecast" is the reconstruction of the truth."""

    deterministic = True
    reconstructs = True
    n_steps_input = 1
    n_steps_output = 1
    stride = 1
    n_solver_steps = 1

    def __init__(
        self, autoencoder: Autoencoder, *, spec: FieldSpec, normaliser: Normaliser, objective: Objective | None = None
    ):
        """Without an `objective` it is the mean squared error."""
        super().__init__()
        self.autoencoder = autoencoder
        self.normaliser = normaliser
        self.spec = spec
        self.objective = objective or mean_squared_error()
        self.objective.check_bottleneck(autoencoder.bottleneck)
        self.objective.attach(autoencoder, spec)
        self.progress = Progress(0)

    @property
    def summary(self) -> str:
        encoder = self.autoencoder.encoder
        shape = " × ".join(str(n) for n in (*encoder.grid_shape, encoder.n_channels))
        return f"{' × '.join(map(str, (*self.spec.grid_shape, self.spec.n_channels)))} to {shape}"

    def advance(self, progress: Progress) -> None:
        """From now on the objective weighs as it does then."""
        self.progress = progress

    def loss(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The objective of the input frames, normalised."""
        return self.contest(batch, noise)[0]

    def contest(self, batch: Batch, noise: Noise) -> tuple[dict[str, Tensor], Coded]:
        """The objective, and what its adversaries learn from (`teach`)."""
        x = self.normaliser.normalise(batch.input_fields)
        coded = Coded.of(x, *self.autoencoder.reconstruct(x, noise if self.training else None))
        return self.objective.measure(coded, self.progress if self.training else None), coded

    @property
    def adversaries(self) -> list[Adversary]:
        """What learns beside the autoencoder, from what it makes."""
        return self.objective.adversaries

    def teach(self, coded: Coded, share: float = 1.0) -> dict[str, Tensor]:
        """Lets the adversaries learn from what `contest` gave, a share of a batch; what is logged of it."""
        return self.objective.teach(coded, self.progress, share)

    def validation_scores(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:  # noqa: ARG002
        """VRMSE of the reconstruction in physical units, its fine structure over that of each frame (of all channels
        together, normalised), and how much of the latents is used."""
        x = self.normaliser.normalise(batch.input_fields)
        reconstruction, posterior = self.autoencoder.reconstruct(x)
        forecast, n_dims = self.normaliser.denormalise(reconstruction)[:, None], self.spec.n_spatial_dims
        grid = Grid(self.spec.grid_shape, self.spec.extent)
        fine, truth_fine = (fine_energy(fields, grid).sum(-1) for fields in (reconstruction, x))
        size = mean_square(x, n_dims).sum(-1) + torch.finfo(x.dtype).tiny
        return {
            "vrmse": vrmse(batch.input_fields, forecast, n_dims).mean(),
            "high_frequency_ratio": fine_energy_ratio(fine, truth_fine, size).clamp(max=ROUGHEST).mean().float(),
            **posterior.usage(),
        }

    def to_latents(self, x: Tensor) -> Tensor:
        """`(B, T, *S, C)` physical to latents `(B, T', *S', C')`, as they come: not normalised."""
        return self.autoencoder.encode(self.normaliser.normalise(x))

    def from_latents(self, z: Tensor) -> Tensor:
        """Latents `(B, T', *S', C')` to fields `(B, T, *S, C)` in physical units."""
        return self.normaliser.denormalise(self.autoencoder.decode(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """`(B, T, *S, C)` in physical units, through the autoencoder and back."""
        return self.normaliser.denormalise(self.autoencoder(self.normaliser.normalise(x)))

    def forecast(self, x: Tensor, n_steps: int, *, truth: Tensor, **unused: Any) -> Iterator[Tensor]:  # noqa: ARG002
        """Reconstructions of `truth` `(B, T, *S, C)` as one member, frame by frame: `(B, 1, 1, *S, C)` each."""
        for step in range(n_steps):
            yield self.reconstruct(truth[:, step : step + 1].to(x.device))[:, None]

    def compile_forecasts(self, mode: str | None) -> None:
        """Compiles the networks, in a mode of `torch.compile`; None takes that back."""
        compile_networks(self, mode)


class EncoderProcessorDecoder(nn.Module):
    """Normaliser, autoencoder and processor: an emulator from physical fields to physical fields.

    Args:
        autoencoder: Trained together with the processor, or left alone if it is a `FrozenAutoencoder`.
        processor: Maps encoded steps to encoded steps.
        spec: Of the fields.
        normaliser: Of the fields' channels.
        latent_normaliser: Of the channels of one encoded frame.
        scalar_normaliser: Of the trajectories' scalars, if there are any.
        constant_normaliser: Of the constant fields, if there are any.
        n_steps_input: Frames that the emulator looks at.
        n_steps_output: Frames that one call predicts.
        stride: Frames of the data from one step to the next.
        reconstruction_weight: Weight of the reconstruction term where the autoencoder is trained as well.
    """

    reconstructs = False

    def __init__(  # noqa: PLR0913
        self,
        autoencoder: Autoencoder,
        processor: Processor,
        *,
        spec: FieldSpec,
        normaliser: Normaliser,
        latent_normaliser: Normaliser,
        scalar_normaliser: Normaliser | None = None,
        constant_normaliser: Normaliser | None = None,
        n_steps_input: int,
        n_steps_output: int,
        stride: int = 1,
        reconstruction_weight: float = 1.0,
    ):
        super().__init__()
        self.autoencoder = autoencoder
        self.processor = processor
        self.normaliser = normaliser
        self.latent_normaliser = latent_normaliser
        self.scalar_normaliser = scalar_normaliser
        self.constant_normaliser = constant_normaliser
        self.spec = spec
        self.n_steps_input = n_steps_input
        self.n_steps_output = n_steps_output
        self.stride = stride
        self.reconstruction_weight = reconstruction_weight

    @property
    def deterministic(self) -> bool:
        return self.processor.deterministic

    @property
    def n_solver_steps(self) -> int:
        return self.processor.n_solver_steps

    @property
    def summary(self) -> str:
        """The sizes that the processor works on, in words."""
        encoder = self.autoencoder.encoder
        return " × ".join(str(n) for n in (*encoder.grid_shape, encoder.n_channels))

    @property
    def device(self) -> torch.device:
        return self.normaliser.mean.device

    @property
    def trains_autoencoder(self) -> bool:
        return any(p.requires_grad for p in self.autoencoder.parameters())

    @property
    def compresses(self) -> bool:
        """Whether encoded frames differ from fields, so that a rollout can stay in the latent space."""
        return self.autoencoder.encoder.grid_shape != self.spec.grid_shape

    @property
    def rollout_mode(self) -> str:
        """How it is rolled out unless told otherwise: in the latent space where there is one."""
        return ENCODE_ONCE if self.compresses else AMBIENT

    def resolve_mode(self, mode: str | None) -> str:
        """One of `autocast.rollout.ROLLOUTS`; None is `rollout_mode`.

        Raises:
            ConfigError: There is no such mode, or it rolls out in a latent space that there is not.
        """
        mode = mode or self.rollout_mode
        if mode not in ROLLOUTS:
            raise ConfigError(f"rollout={mode}: no such mode. There are: {', '.join(ROLLOUTS)}.")
        if mode != AMBIENT and not self.compresses:
            raise ConfigError(
                f"rollout={mode}: this emulator works on the fields themselves "
                f"({type(self.autoencoder.encoder).__name__}) and has no latent space. Leave it null."
            )
        return mode

    # -- encoding -------------------------------------------------------------------------------------------------

    def encode_fields(self, x: Tensor) -> Tensor:
        """`(B, T, *S, C)` physical to `(B, T', *S', C')` encoded and normalised."""
        return self.normalise_latents(self.to_latents(x))

    def decode_fields(self, z: Tensor) -> Tensor:
        """The inverse of `encode_fields`, as far as the autoencoder allows."""
        return self.from_latents(self.denormalise_latents(z))

    def to_latents(self, x: Tensor) -> Tensor:
        """`(B, T, *S, C)` physical to `(B, T', *S', C')` as the autoencoder gives it, as caches hold it.

        An autoencoder that is not trained along works in the precision of its weights also where a training has a lower
        one: increments are small differences of large latents.
        """
        device = x.device.type
        with torch.autocast(device, enabled=self.trains_autoencoder and torch.is_autocast_enabled(device)):
            return self.autoencoder.encode(self.normaliser.normalise(x))

    def from_latents(self, z: Tensor) -> Tensor:
        """The inverse of `to_latents`, as far as the autoencoder allows."""
        return self.normaliser.denormalise(self.autoencoder.decode(z))

    def normalise_latents(self, z: Tensor) -> Tensor:
        """What the autoencoder gives to what the processor works on."""
        return self._per_frame(self.latent_normaliser.normalise, z)

    def denormalise_latents(self, z: Tensor) -> Tensor:
        """The inverse of `normalise_latents`."""
        return self._per_frame(self.latent_normaliser.denormalise, z)

    def encode(self, batch: Batch) -> EncodedBatch:
        """A batch as the processor sees it. A trained-along autoencoder gets gradients from the inputs only."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_autoencoder):
            inputs = self.normalise_latents(self._latents(batch, batch.input_fields))
        with torch.no_grad():
            outputs = self.normalise_latents(self._output_latents(batch))
        return EncodedBatch(inputs, outputs, self.condition(batch.scalars, batch.constant_fields))

    def _latents(self, batch: Batch, frames: Tensor) -> Tensor:
        """Frames of a batch as the autoencoder gives them; those of a batch of latents are that already."""
        return frames if isinstance(batch, LatentBatch) else self.to_latents(frames)

    def _output_latents(self, batch: Batch) -> Tensor:
        """Outputs of one window or several, each by itself: an encoder may merge the frames that it gets."""
        n_windows = batch.output_fields.shape[1] // self.n_steps_output
        windows = batch.output_fields.unflatten(1, (n_windows, -1)).flatten(0, 1)
        return self._latents(batch, windows).unflatten(0, (-1, n_windows)).flatten(1, 2)

    def condition(self, scalars: Tensor | None, constant_fields: Tensor | None) -> Condition:
        """Normalised scalars `(B, K)`, and constant fields `(B, *S, Cc)` averaged onto the processor's grid."""
        if scalars is not None and self.scalar_normaliser is not None:
            scalars = self.scalar_normaliser.normalise(scalars)
        if constant_fields is not None and self.constant_normaliser is not None:
            constant_fields = self.constant_normaliser.normalise(constant_fields)
            constant_fields = layout.average_onto(constant_fields, self.autoencoder.encoder.grid_shape)
        return Condition(scalars, constant_fields)

    def _per_frame(self, scale: Any, z: Tensor) -> Tensor:
        """Applies a map of one frame's channels to steps that may hold several frames in their channels."""
        return scale(z.unflatten(-1, (-1, self.autoencoder.encoder.n_channels))).flatten(-2)

    @torch.no_grad()
    def fit_latents(self, batches: Iterator[Batch], known: LatentStatistics | Statistics | None = None) -> None:
        """Measures the scale of the encoded channels' increments on training batches, and their mean and std as well
        where those are not `known`."""
        n_channels = self.autoencoder.encoder.n_channels
        frames, increments = Moments(n_channels), Moments(n_channels)
        for batch in batches:
            x, y = (
                layout.split_frames(self._latents(batch, fields.to(self.device)), n_channels)
                for fields in (batch.input_fields, batch.output_fields[:, : self.n_steps_output])
            )
            frames.add(x.cpu().numpy())
            increments.add((y - x[:, -1:]).cpu().numpy())
        if self.compresses:
            source = frames if known is None else known
            scale = fit_normaliser("zscore", source.mean, source.std)
            self.latent_normaliser.load_state_dict(scale.state_dict())
        increment = torch.from_numpy(increments.rms).to(self.device)
        self.processor.set_increment_scale((increment / self.latent_normaliser.std).float())

    # -- training -------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The processor's loss in the encoded space; the reconstruction of the inputs as well where that is trained."""
        encoded = self.encode(batch)
        prediction = self.processor.loss(encoded.inputs, encoded.outputs, encoded.condition, noise)
        if not self.trains_autoencoder:
            return {"loss": prediction}
        x = self.normaliser.normalise(batch.input_fields)
        reconstruction = mse(self.autoencoder(x, noise if self.training else None), x)
        total = prediction + self.reconstruction_weight * reconstruction
        return {"loss": total, "prediction": prediction, "reconstruction": reconstruction}

    def validation_scores(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """VRMSE of one member's first window in physical units; of latents, in their space."""
        batch = batch.first_outputs(self.n_steps_output)
        if isinstance(batch, LatentBatch):
            encoded = self.encode(batch)
            drawn = self.processor.sample(encoded.inputs, encoded.condition, noise)[:, None]
            return {"latent_vrmse": vrmse(encoded.outputs, drawn, self.spec.n_spatial_dims).mean()}
        prediction = self.predict(batch.input_fields, noise, batch.scalars, batch.constant_fields)
        return {"vrmse": vrmse(batch.output_fields, prediction[:, None], self.spec.n_spatial_dims).mean()}

    # -- forecasting ----------------------------------------------------------------------------------------------

    def compile_forecasts(self, mode: str | None) -> None:
        """Compiles what the processor does for a window as one, in a mode of `torch.compile`, at the first forecast and
        once more for batches of other sizes; None takes that back. Encoder and decoder stay as they are."""
        compile_module(self.processor, mode, fullgraph=True)

    @torch.no_grad()
    def predict(
        self, x: Tensor, noise: Noise, scalars: Tensor | None = None, constant_fields: Tensor | None = None
    ) -> Tensor:
        """One window: `(B, Ti, *S, C)` to `(B, To, *S, C)`, both physical."""
        condition = self.condition(scalars, constant_fields)
        return self.decode_fields(self.processor.sample(self.encode_fields(x), condition, noise))

    def reconstruct(self, x: Tensor) -> Tensor:
        """`(B, T, *S, C)` in physical units, through the autoencoder and back: the floor of any forecast's error."""
        return self.normaliser.denormalise(self.autoencoder(self.normaliser.normalise(x)))

    @torch.no_grad()
    def forecast(  # noqa: PLR0913
        self,
        x: Tensor,
        n_steps: int,
        *,
        n_members: int = 1,
        seed: int = 0,
        trajectory: Sequence[int] | Tensor | None = None,
        scalars: Tensor | None = None,
        constant_fields: Tensor | None = None,
        truth: Tensor | None = None,  # noqa: ARG002
        mode: str | None = None,
        max_rows: int | None = None,
    ) -> Iterator[Tensor]:
        """Streams an ensemble forecast window by window.

        Args:
            x: Initial frames `(B, Ti, *S, C)` in physical units.
            n_steps: Steps to forecast.
            n_members: Members of the ensemble; a deterministic emulator has one.
            seed: With the trajectory's and the member's number it determines the draws, whatever the batch.
            trajectory: `(B,)` numbers of the trajectories; by default the rows'.
            scalars: `(B, K)`
            constant_fields: `(B, *S, Cc)`
            truth: Not looked at.
            mode: See `resolve_mode`. With "latent", `x` and what is yielded are latents as caches hold them.
            max_rows: Trajectories times members in a network call at most, whatever there is of either.

        Yields:
            `(B, M, t, *S, C)` in physical units, `n_steps` steps in all.
        """
        modes = {AMBIENT: self._ambient, ENCODE_ONCE: self._encode_once, LATENT: self._latent}
        starts = {AMBIENT: _as_it_is, ENCODE_ONCE: self.encode_fields, LATENT: self.normalise_latents}
        mode = self.resolve_mode(mode)
        n_members = 1 if self.deterministic else n_members
        numbers = range(x.shape[0]) if trajectory is None else [int(i) for i in trajectory]
        noise = Noise([(seed, i, member) for i in numbers for member in range(n_members)])
        start = starts[mode](x).repeat_interleave(n_members, dim=0)
        condition, size = self.condition(scalars, constant_fields).repeat(n_members), max_rows or len(start)
        parts = zip(start.split(size), condition.split(size, len(start)), noise.split(size), strict=True)
        rollouts = [modes[mode](rows, n_steps, self._step(known, draws)) for rows, known, draws in parts]
        for windows in zip(*rollouts, strict=True):
            yield layout.unfold_members(torch.cat(windows), n_members)

    def _step(self, condition: Condition, noise: Noise) -> Step:
        """From encoded steps to the next ones, each row going on from its own."""
        return lambda z: self.processor.sample(z, condition, noise)

    def _ambient(self, x: Tensor, n_steps: int, step: Step) -> Iterator[Tensor]:
        """Windows of fields `(rows, t, *S, C)`, each decoded and encoded again to make the next one."""
        return rollout(lambda fields: self.decode_fields(step(self.encode_fields(fields))), x, n_steps)

    def _encode_once(self, z: Tensor, n_steps: int, step: Step) -> Iterator[Tensor]:
        """Windows decoded from a rollout of latents."""
        return (self.decode_fields(window) for window in rollout(step, z, n_steps))

    def _latent(self, z: Tensor, n_steps: int, step: Step) -> Iterator[Tensor]:
        """Windows of latents."""
        return (self.denormalise_latents(window) for window in rollout(step, z, n_steps))

    def rollout(
        self,
        x: Tensor,
        n_steps: int,
        n_members: int = 1,
        seed: int = 0,
        scalars: Tensor | None = None,
        constant_fields: Tensor | None = None,
    ) -> Tensor:
        """The whole forecast `(B, M, T, *S, C)` in physical units; see `forecast` for the arguments.

        Raises:
            ValueError: If `x` is not `(B, Ti, *S, C)` of this emulator, or what it was trained with is missing.
        """
        expected = (self.n_steps_input, *self.spec.grid_shape, self.spec.n_channels)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"x has shape {tuple(x.shape)}; this emulator takes (B, {', '.join(map(str, expected))})")
        self._check_known("scalars", self.spec.scalar_names, scalars)
        self._check_known("constant_fields", self.spec.constant_field_names, constant_fields)
        windows = self.forecast(
            x.to(self.device),
            n_steps,
            n_members=n_members,
            seed=seed,
            scalars=scalars,
            constant_fields=constant_fields,
        )
        return torch.cat(list(windows), dim=2)

    @staticmethod
    def _check_known(argument: str, names: tuple[str, ...], given: Tensor | None) -> None:
        found = 0 if given is None else given.shape[-1]
        if found != len(names):
            raise ValueError(
                f"{argument}= has {found} of the {len(names)} that this emulator knows: {', '.join(names)}"
            )
