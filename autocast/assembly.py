"""Models put together from their parts, and filled with trained weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.bottlenecks import Bottleneck
from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.data.normaliser import Normaliser
from autocast.emulators import AutoencoderModel, EncoderProcessorDecoder, FrozenAutoencoder
from autocast.errors import CheckpointError, ConfigError
from autocast.losses.objective import Objective
from autocast.processors.processor import Processor
from autocast.types import EncodedSpec, FieldSpec


def assemble_autoencoder(
    encoder: Callable[[FieldSpec], Encoder],
    bottleneck: Callable[[int], Bottleneck],
    decoder: Callable[[Encoder], Decoder] | None = None,
    objective: Objective | None = None,
    *,
    spec: FieldSpec,
    normaliser: Normaliser,
) -> AutoencoderModel:
    """An autoencoder of the fields that `spec` describes; no decoder means the encoder's mirror, no objective the mean
    squared error."""
    autoencoder = _autoencoder(encoder, bottleneck, decoder, spec)
    return AutoencoderModel(autoencoder, spec=spec, normaliser=normaliser, objective=objective)


def assemble_emulator(  # noqa: PLR0913
    encoder: Callable[[FieldSpec], Encoder],
    bottleneck: Callable[[int], Bottleneck],
    processor: Callable[[EncodedSpec], Processor],
    decoder: Callable[[Encoder], Decoder] | None = None,
    reconstruction_weight: float = 1.0,
    *,
    spec: FieldSpec,
    normaliser: Normaliser,
    scalar_normaliser: Normaliser | None = None,
    constant_normaliser: Normaliser | None = None,
    n_steps_input: int,
    n_steps_output: int,
    stride: int = 1,
    n_windows: int = 1,
    frozen: bool = False,
) -> EncoderProcessorDecoder:
    """An emulator of the fields that `spec` describes; `frozen` leaves its autoencoder alone in training.

    Raises:
        ConfigError: It is to be trained on several windows, and its processor cannot unroll; or its autoencoder is not
            frozen, and needs an objective of its own.
    """
    autoencoder = _autoencoder(encoder, bottleneck, decoder, spec)
    if not frozen:
        _check_end_to_end(autoencoder)
    encoded = encoded_spec(autoencoder, spec, n_steps_input, n_steps_output)
    built = processor(encoded)
    _check_unrolls(built, n_windows)
    return EncoderProcessorDecoder(
        FrozenAutoencoder(autoencoder) if frozen else autoencoder,
        built,
        spec=spec,
        normaliser=normaliser,
        latent_normaliser=Normaliser.identity(encoded.n_channels),
        scalar_normaliser=scalar_normaliser,
        constant_normaliser=constant_normaliser,
        n_steps_input=n_steps_input,
        n_steps_output=n_steps_output,
        stride=stride,
        reconstruction_weight=reconstruction_weight,
    )


def build_blank(kind: str, model: Callable[..., Any], spec: FieldSpec, windows: Mapping[str, Any]) -> Any:
    """A model without its weights, and with normalisers that weights will fill.

    Args:
        kind: "ae" for an autoencoder alone; anything else is an emulator.
        model: `assemble_autoencoder` or `assemble_emulator`, given everything that a config knows.
        spec: Of the fields.
        windows: `n_steps_input`, `n_steps_output` and `stride` of an emulator, and `n_windows` if it is trained on more
            than one.
    """
    fields: dict[str, Any] = {"spec": spec, "normaliser": Normaliser.identity(spec.n_channels)}
    if kind == "ae":
        return model(**fields)
    return model(
        **fields,
        scalar_normaliser=Normaliser.identity(spec.n_scalars) if spec.n_scalars else None,
        constant_normaliser=Normaliser.identity(spec.n_constant_fields) if spec.n_constant_fields else None,
        n_steps_input=windows["n_steps_input"],
        n_steps_output=windows["n_steps_output"],
        stride=windows["stride"],
        n_windows=windows.get("n_windows", 1),
        frozen=True,
    )


def _autoencoder(
    encoder: Callable[[FieldSpec], Encoder],
    bottleneck: Callable[[int], Bottleneck],
    decoder: Callable[[Encoder], Decoder] | None,
    spec: FieldSpec,
) -> Autoencoder:
    built = encoder(spec)
    return Autoencoder(built, bottleneck(built.n_channels), decoder(built) if decoder else built.mirror())


def _check_end_to_end(autoencoder: Autoencoder) -> None:
    if autoencoder.bottleneck.term is not None:
        raise ConfigError(
            f"bottleneck: {type(autoencoder.bottleneck).__name__} is trained with the term "
            f"{autoencoder.bottleneck.term}, which a training of autoencoder and processor together does not have. "
            "Train the autoencoder first (autocast ae), and give --autoencoder RUN."
        )


def _check_unrolls(processor: Processor, n_windows: int) -> None:
    if n_windows > 1 and not processor.can_unroll:
        raise ConfigError(
            f"training.n_windows={n_windows}: {type(processor).__name__} learns one window at a time. "
            "Set training.n_windows=1, or a processor that forecasts in one network call, such as direct or ensemble."
        )


def encoded_spec(autoencoder: Autoencoder, spec: FieldSpec, n_steps_input: int, n_steps_output: int) -> EncodedSpec:
    """What the processor behind an encoder sees of windows of `n_steps_input` and `n_steps_output` frames."""
    encoder = autoencoder.encoder
    merged = encoder.merges_frames
    return EncodedSpec(
        n_channels=encoder.n_channels,
        n_steps_input=1 if merged else n_steps_input,
        n_steps_output=1 if merged else n_steps_output,
        grid_shape=encoder.grid_shape,
        periodic=encoder.periodic,
        n_frames_input=n_steps_input if merged else 1,
        n_frames_output=n_steps_output if merged else 1,
        n_scalars=spec.n_scalars,
        n_constant_channels=spec.n_constant_fields,
        boundary=spec.boundary,
    )


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A Lightning checkpoint, on the CPU, without executing anything in it.

    Raises:
        CheckpointError: If the file is missing, damaged or not one of ours.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: no such checkpoint.")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{file}: not a readable checkpoint ({str(error).splitlines()[0]}).") from error
    if "state_dict" not in checkpoint or "autocast" not in checkpoint:
        raise CheckpointError(f"{file}: a checkpoint, but not one that autocast wrote (found: {sorted(checkpoint)}).")
    return checkpoint


def load_autoencoder(emulator: EncoderProcessorDecoder, file: Path) -> None:
    """Puts a trained autoencoder into an emulator, and the normaliser that its latents rest on."""
    prefixes = ("model.autoencoder.", "model.normaliser.")
    checkpoint = read_checkpoint(file)
    parts = nn.ModuleDict({"autoencoder": emulator.autoencoder, "normaliser": emulator.normaliser})
    weights = {k: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefixes)}
    load_weights(parts, {"state_dict": weights}, file)


def load_weights(model: nn.Module, checkpoint: dict[str, Any], file: Path) -> None:
    """Puts the (averaged) weights of a checkpoint into a model, strictly.

    Raises:
        CheckpointError: If a tensor is missing, left over or of another shape.
    """
    found = {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items() if k.startswith("model.")}
    wanted = model.state_dict()
    shapes = {k for k in found.keys() & wanted.keys() if found[k].shape != wanted[k].shape}
    problems = [f"{k} is missing" for k in wanted.keys() - found.keys()]
    problems += [f"{k} is not in the model" for k in found.keys() - wanted.keys()]
    problems += [f"{k} is {tuple(found[k].shape)}, the model has {tuple(wanted[k].shape)}" for k in shapes]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CheckpointError(f"{file} does not fit the model: {'; '.join(sorted(problems)[:3])}{more}.")
    model.load_state_dict(found)
