"""Ways to roll an emulator out, as views of model and data that an evaluation takes for the things themselves.

`ambient` decodes and encodes again at every window, `encode_once` stays in the latent space and decodes what is scored,
and `latent` compares latents with the encoded truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autocast.data.latents_cache import latents_spec
from autocast.data.trajectories import Trajectories
from autocast.emulators import EncoderProcessorDecoder
from autocast.errors import ConfigError
from autocast.evaluation.forecasters import Forecasts
from autocast.evaluation.plan import EvaluationData
from autocast.evaluation.result import RECONSTRUCTION
from autocast.evaluation.settings import EvaluationSettings
from autocast.layout import average_onto
from autocast.rollout import AMBIENT, ENCODE_ONCE, LATENT
from autocast.types import FieldSpec

FRAMES = 64
"""That are encoded at once."""
OTHER_MODE = {AMBIENT: ENCODE_ONCE, ENCODE_ONCE: AMBIENT}


def resolve_rollout(model: Forecasts, rollout: str | None) -> str | None:
    """The mode that a model is rolled out in; None where it is not rolled out at all.

    Args:
        model: With or without its weights.
        rollout: The mode asked for; None leaves it to the model.

    Raises:
        ConfigError: The model has no latent space, or is not rolled out at all.
    """
    if not isinstance(model, EncoderProcessorDecoder):
        if rollout is not None:
            raise ConfigError(
                f"eval.rollout={rollout}: {type(model).__name__} is no emulator, so it is not rolled out in "
                "this way or that. Leave eval.rollout=null."
            )
        return None
    try:
        return model.resolve_mode(rollout)
    except ConfigError as error:
        raise ConfigError(f"eval.{error}") from error


def in_rollout_mode(
    model: Forecasts, datamodule: EvaluationData, settings: EvaluationSettings
) -> tuple[Forecasts, EvaluationData, EvaluationSettings]:
    """The model and the data as `settings.rollout` sees them, and the settings with the name of the mode.

    Raises:
        ConfigError: See `resolve_rollout`.
    """
    mode = resolve_rollout(model, settings.rollout)
    if mode is None or not isinstance(model, EncoderProcessorDecoder):
        return model, datamodule, settings
    settings = dataclasses.replace(settings, rollout=mode)
    if mode == LATENT:
        scored = tuple(name for name in settings.baselines if name != RECONSTRUCTION)  # nothing is decoded
        return RolledOut(model, mode), EncodedData(datamodule, model), dataclasses.replace(settings, baselines=scored)
    return RolledOut(model, mode), datamodule, settings


def in_other_mode(model: Forecasts) -> RolledOut | None:
    """The same emulator rolled out through the fields instead of its latents, or the other way round; None where there
    is no such choice, or latents are scored."""
    if not isinstance(model, RolledOut) or model.mode == LATENT or not model.emulator.compresses:
        return None
    return RolledOut(model.emulator, OTHER_MODE[model.mode])


class RolledOut:
    """An emulator that is rolled out in one of the modes."""

    def __init__(self, emulator: EncoderProcessorDecoder, mode: str):
        self.emulator = emulator
        self.mode = mode
        self.n_steps_input = emulator.n_steps_input
        self.n_steps_output = emulator.n_steps_output
        self.stride = emulator.stride
        self.reconstructs = emulator.reconstructs
        self.deterministic = emulator.deterministic
        self.n_solver_steps = emulator.n_solver_steps

    def compile_forecasts(self, mode: str | None) -> None:
        self.emulator.compile_forecasts(mode)

    def forecast(self, x: Tensor, n_steps: int, **known: Any) -> Iterator[Tensor]:
        return self.emulator.forecast(x, n_steps, mode=self.mode, **known)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.emulator.reconstruct(x)


class EncodedData:
    """A data module whose trajectories are encoded by a model whenever they are read."""

    def __init__(self, datamodule: EvaluationData, model: EncoderProcessorDecoder):
        self.batch_size = datamodule.batch_size
        self._datamodule = datamodule
        self._model = model

    @property
    def spec(self) -> FieldSpec:
        return _latents_spec(self._datamodule.spec, self._model)

    @property
    def digest(self) -> str:
        return self._datamodule.digest

    def split(self, name: str) -> Trajectories:
        return EncodedTrajectories(self._datamodule.split(name), self._model)


class EncodedTrajectories(Trajectories):
    """The trajectories of a split, each frame encoded; constant fields are averaged to the grid of the latents."""

    def __init__(self, fields: Trajectories, model: EncoderProcessorDecoder):
        self.fields = fields
        self.spec = _latents_spec(fields.spec, model)
        self.n_trajectories = fields.n_trajectories
        self.field_orders = tuple((name, 0) for name in (*self.spec.channel_names, *self.spec.constant_field_names))
        self._model = model

    def n_steps(self, i: int) -> int:
        return self.fields.n_steps(i)

    @torch.no_grad()
    def read(self, i: int, start: int, stop: int, stride: int = 1) -> np.ndarray:
        frames = torch.from_numpy(self.fields.read(i, start, stop, stride))
        encoded = [self._model.to_latents(some[None].to(self._model.device))[0].cpu() for some in frames.split(FRAMES)]
        return torch.cat(encoded).numpy()

    def scalars(self, i: int) -> np.ndarray:
        return self.fields.scalars(i)

    def constant_fields(self, i: int) -> np.ndarray | None:
        fields = self.fields.constant_fields(i)
        return None if fields is None else average_onto(torch.from_numpy(fields)[None], self.spec.grid_shape)[0].numpy()

    def name(self, i: int) -> str:
        return f"{self.fields.name(i)}, encoded"


def _latents_spec(fields: FieldSpec, model: EncoderProcessorDecoder) -> FieldSpec:
    encoder = model.autoencoder.encoder
    return latents_spec(fields, n_channels=encoder.n_channels, grid_shape=encoder.grid_shape)
