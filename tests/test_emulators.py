"""The assembled models: shapes, units, draws, and what training may change."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autocast.assembly import assemble_autoencoder, assemble_emulator, build_blank, encoded_spec, load_weights
from autocast.autoencoders.autoencoder import Autoencoder
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.autoencoders.permute_concat import PermuteConcatEncoder
from autocast.data.normaliser import Normaliser
from autocast.data.statistics import Moments
from autocast.emulators import AutoencoderModel, EncoderProcessorDecoder
from autocast.errors import CheckpointError, ConfigError
from autocast.generative.noise import Noise
from autocast.generative.samplers import Euler
from autocast.layout import average_onto
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.types import Batch, FieldSpec, LatentBatch

SPEC = FieldSpec(
    "toy", ("u", "v"), ("m/s", "K"), ("x", "y"), (8, 12), (1.0, 1.5), ("periodic", "wall"), 0.1, ("nu",), ("mask",)
)
N_INPUT, N_OUTPUT, N_BATCH = 3, 2, 5

DC = functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=6)
UNET = functools.partial(UNet, width=8, levels=1, blocks=1)
DIRECT = functools.partial(Direct, backbone=UNET)
FLOW = functools.partial(FlowMatching, backbone=UNET, sampler=Euler(n_steps=2))
ENCODERS = {"dc": DC, "identity": IdentityEncoder, "permute_concat": PermuteConcatEncoder}


def make_emulator(encoder: str = "dc", processor: object = FLOW, *, frozen: bool = True) -> EncoderProcessorDecoder:
    torch.manual_seed(0)
    emulator = assemble_emulator(
        ENCODERS[encoder],
        IdentityBottleneck,
        processor,
        spec=SPEC,
        normaliser=Normaliser(torch.tensor([10.0, -3.0]), torch.tensor([2.0, 0.5])),
        scalar_normaliser=Normaliser.identity(1),
        constant_normaliser=Normaliser.identity(1),
        n_steps_input=N_INPUT,
        n_steps_output=N_OUTPUT,
        frozen=frozen,
    )
    for parameter in emulator.processor.parameters():  # away from networks that start at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    return emulator


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    scale, shift = torch.tensor([2.0, 0.5]), torch.tensor([10.0, -3.0])
    return Batch(
        torch.randn(N_BATCH, N_INPUT, 8, 12, 2, generator=generator) * scale + shift,
        torch.randn(N_BATCH, N_OUTPUT, 8, 12, 2, generator=generator) * scale + shift,
        scalars=torch.rand(N_BATCH, 1, generator=generator),
        constant_fields=torch.rand(N_BATCH, 8, 12, 1, generator=generator),
    )


def forecast(
    emulator: EncoderProcessorDecoder, batch: Batch, rows: slice = slice(None), **settings: int | str
) -> torch.Tensor:
    windows = emulator.forecast(
        batch.input_fields[rows],
        5,
        trajectory=list(range(N_BATCH))[rows],
        scalars=batch.scalars[rows],
        constant_fields=batch.constant_fields[rows],
        **settings,
    )
    return torch.cat(list(windows), dim=2)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("processor", [DIRECT, FLOW])
def test_every_pair_of_encoder_and_processor_trains_and_forecasts(encoder: str, processor: object) -> None:
    emulator, batch = make_emulator(encoder, processor), make_batch()
    terms = emulator.loss(batch, Noise([(0, i) for i in range(N_BATCH)]))
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])
    assert all(p.grad is not None for p in emulator.processor.parameters())
    n_members = 1 if emulator.deterministic else 3
    assert forecast(emulator, batch, n_members=3, seed=0).shape == (N_BATCH, n_members, 5, 8, 12, 2)


@pytest.mark.parametrize("mode", ["latent", "encode_once"])
def test_where_frames_are_merged_there_is_no_rollout_in_a_latent_space(mode: str) -> None:
    with pytest.raises(ConfigError, match=rf"rollout={mode}: .*PermuteConcatEncoder.* no latent space"):
        forecast(make_emulator("permute_concat"), make_batch(), mode=mode)
    with pytest.raises(ConfigError, match=r"rollout=nope: no such mode. There are: ambient"):
        forecast(make_emulator(), make_batch(), mode="nope")


@pytest.mark.parametrize("frozen", [True, False])
def test_only_an_autoencoder_that_is_trained_along_encodes_in_low_precision(frozen: bool) -> None:
    emulator, batch = make_emulator(frozen=frozen), make_batch()
    exact = emulator.encode(batch)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = emulator.encode(batch)
    assert torch.equal(encoded.inputs, exact.inputs) == frozen
    assert torch.equal(encoded.outputs, exact.outputs) == frozen


def test_a_forecast_does_not_depend_on_the_batch() -> None:
    emulator, batch = make_emulator(), make_batch()
    whole = forecast(emulator, batch, n_members=3, seed=7)
    parts = torch.cat([forecast(emulator, batch, slice(i, i + 2), n_members=3, seed=7) for i in range(0, N_BATCH, 2)])
    torch.testing.assert_close(whole, parts)
    assert not torch.allclose(whole, forecast(emulator, batch, n_members=3, seed=8))
    torch.testing.assert_close(whole[:, :2], forecast(emulator, batch, n_members=2, seed=7))


@pytest.mark.parametrize("mode", ["ambient", "encode_once"])
@pytest.mark.parametrize("max_rows", [1, 4, 5])
def test_a_forecast_does_not_depend_on_the_rows_of_a_call(mode: str, max_rows: int) -> None:
    """Five trajectories with three members each: groups hold parts of ensembles."""
    emulator, batch = make_emulator(), make_batch()
    sample, seen = emulator.processor.sample, []
    emulator.processor.sample = lambda x, *known: seen.append(len(x)) or sample(x, *known)
    whole = forecast(emulator, batch, n_members=3, mode=mode)
    assert set(seen) == {N_BATCH * 3}
    seen.clear()
    parts = forecast(emulator, batch, n_members=3, mode=mode, max_rows=max_rows)
    assert max(seen) == max_rows
    torch.testing.assert_close(parts, whole)


def test_members_differ_and_a_forecast_is_in_physical_units() -> None:
    found = forecast(make_emulator(), make_batch(), n_members=3, seed=0)
    assert (found[:, 0] - found[:, 1]).abs().mean() > 0
    means = found.mean((0, 1, 2, 3, 4))
    assert abs(means[0] - 10) < 5
    assert abs(means[1] + 3) < 2


def test_rollout_refuses_fields_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"takes \(B, 3, 8, 12, 2\)"):
        make_emulator().rollout(torch.zeros(1, 2, 8, 12, 2), n_steps=1)


def test_rollout_asks_for_the_scalars_that_it_was_trained_with() -> None:
    with pytest.raises(ValueError, match="scalars= has 0 of the 1 that this emulator knows: nu"):
        make_emulator().rollout(torch.zeros(1, N_INPUT, 8, 12, 2), n_steps=1)


@pytest.mark.parametrize("encoder", ["identity", "permute_concat"])
def test_field_space_encoders_lose_nothing(encoder: str) -> None:
    emulator, x = make_emulator(encoder), make_batch().input_fields
    torch.testing.assert_close(emulator.reconstruct(x), x)
    torch.testing.assert_close(emulator.decode_fields(emulator.encode_fields(x)), x)


def test_a_frozen_autoencoder_is_shared_and_never_trained() -> None:
    emulator = make_emulator()
    emulator.train()
    assert not any(p.requires_grad for p in emulator.autoencoder.parameters())
    assert not emulator.autoencoder.training
    averaged = copy.deepcopy(emulator)
    assert averaged.autoencoder is emulator.autoencoder
    assert averaged.processor is not emulator.processor


def test_end_to_end_training_reaches_encoder_and_decoder() -> None:
    emulator = make_emulator(frozen=False)
    terms = emulator.loss(make_batch(), Noise([(0, i) for i in range(N_BATCH)]))
    assert set(terms) == {"loss", "prediction", "reconstruction"}
    terms["loss"].backward()
    assert all(p.grad is not None for p in emulator.parameters() if p.requires_grad)


def test_latents_are_scaled_to_unit_moments() -> None:
    emulator, batch = make_emulator(), make_batch()
    emulator.fit_latents(iter([batch]))
    z = emulator.encode_fields(batch.input_fields)
    torch.testing.assert_close(z.flatten(0, -2).mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.flatten(0, -2).std(0), torch.ones(6), atol=1e-2, rtol=0)
    assert (emulator.processor.increment_scale > 0).all()


def encoded(emulator: EncoderProcessorDecoder, batch: Batch) -> LatentBatch:
    """The batch as a cache of latents holds it."""
    return LatentBatch(
        emulator.to_latents(batch.input_fields),
        emulator.to_latents(batch.output_fields),
        scalars=batch.scalars,
        constant_fields=average_onto(batch.constant_fields, emulator.autoencoder.encoder.grid_shape),
    )


def test_latents_train_as_their_fields_do() -> None:
    emulator, other, batch = make_emulator(), make_emulator(), make_batch()
    latents = encoded(emulator, batch)
    emulator.fit_latents(iter([batch]))
    other.fit_latents(iter([latents]))
    torch.testing.assert_close(emulator.state_dict(), other.state_dict())
    noise = [(0, i) for i in range(N_BATCH)]
    torch.testing.assert_close(emulator.loss(batch, Noise(noise)), other.loss(latents, Noise(noise)))


def test_training_on_latents_neither_encodes_nor_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = make_emulator()
    latents = encoded(emulator, make_batch())
    monkeypatch.setattr(emulator.autoencoder.encoder, "encode", None)
    monkeypatch.setattr(emulator.autoencoder.decoder, "decode", None)
    noise = Noise([(0, i) for i in range(N_BATCH)])
    emulator.loss(latents, noise)["loss"].backward()
    assert emulator.validation_scores(latents, noise).keys() == {"latent_vrmse"}
    assert all(p.grad is None for p in emulator.autoencoder.parameters())


def test_known_statistics_are_taken_instead_of_those_of_a_few_batches() -> None:
    emulator = make_emulator()
    moments = Moments(6)
    moments.mean += 3.0
    emulator.fit_latents(iter([make_batch()]), moments)
    torch.testing.assert_close(emulator.latent_normaliser.mean, torch.full((6,), 3.0))


def test_modes_of_a_rollout_are_one_loop_in_three_spaces() -> None:
    emulator, batch = make_emulator(), make_batch()
    once, ambient = (forecast(emulator, batch, n_members=2, mode=mode) for mode in ("encode_once", "ambient"))
    assert torch.equal(once, forecast(emulator, batch, n_members=2))
    torch.testing.assert_close(once[:, :, :N_OUTPUT], ambient[:, :, :N_OUTPUT])
    assert not torch.allclose(once[:, :, N_OUTPUT:], ambient[:, :, N_OUTPUT:])
    latents = encoded(emulator, batch)
    windows = list(
        emulator.forecast(
            latents.input_fields,
            5,
            n_members=2,
            scalars=latents.scalars,
            constant_fields=latents.constant_fields,
            mode="latent",
        )
    )
    decoded = [emulator.from_latents(window.flatten(0, 1)).unflatten(0, (N_BATCH, 2)) for window in windows]
    torch.testing.assert_close(torch.cat(decoded, dim=2), once)


def test_scalars_and_constant_fields_change_a_forecast() -> None:
    emulator, batch = make_emulator(), make_batch()
    known = {"scalars": batch.scalars, "constant_fields": batch.constant_fields}

    def predict(**changes: torch.Tensor) -> torch.Tensor:
        return emulator.rollout(batch.input_fields, 2, **{**known, **changes})

    assert not torch.allclose(predict(), predict(scalars=batch.scalars + 1))
    assert not torch.allclose(predict(), predict(constant_fields=batch.constant_fields + 1))


def test_encoded_spec_counts_merged_frames() -> None:
    merged = Autoencoder(PermuteConcatEncoder(SPEC), IdentityBottleneck(2), PermuteConcatEncoder(SPEC).mirror())
    spec = encoded_spec(merged, SPEC, N_INPUT, N_OUTPUT)
    assert (spec.n_steps_input, spec.n_channels_input) == (1, N_INPUT * 2)
    assert (spec.n_steps_output, spec.n_channels_output) == (1, N_OUTPUT * 2)


def test_weights_go_back_into_a_blank_model() -> None:
    trained = make_emulator()
    blank = build_blank(
        "epd",
        functools.partial(assemble_emulator, DC, IdentityBottleneck, FLOW),
        SPEC,
        {"n_steps_input": N_INPUT, "n_steps_output": N_OUTPUT, "stride": 1},
    )
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    load_weights(blank, {"state_dict": state}, file="toy.ckpt")
    batch = make_batch()
    torch.testing.assert_close(forecast(trained, batch, seed=0), forecast(blank, batch, seed=0))


def test_weights_that_do_not_fit_are_named() -> None:
    emulator = make_emulator()
    state = {f"model.{name}": value for name, value in emulator.state_dict().items()}
    state["model.normaliser.mean"] = torch.zeros(3)
    del state["model.normaliser.std"]
    state["model.other"] = torch.zeros(1)
    with pytest.raises(
        CheckpointError, match=r"normaliser.mean is .*normaliser.std is missing.*other is not in the model"
    ):
        load_weights(emulator, {"state_dict": state}, file="toy.ckpt")


def test_an_autoencoder_forecasts_the_truth_encoded_and_decoded() -> None:
    model: AutoencoderModel = assemble_autoencoder(
        DC, IdentityBottleneck, spec=SPEC, normaliser=Normaliser(torch.tensor([10.0, -3.0]), torch.tensor([2.0, 0.5]))
    )
    batch = make_batch()
    windows = list(model.forecast(batch.input_fields[:, :1], N_OUTPUT, truth=batch.output_fields))
    found = torch.cat(windows, dim=2)
    assert found.shape == (N_BATCH, 1, N_OUTPUT, 8, 12, 2)
    torch.testing.assert_close(found[:, 0], model.reconstruct(batch.output_fields))


def test_an_autoencoder_tells_in_validation_how_sharp_it_is() -> None:
    batch = make_batch()
    scales = Normaliser(torch.tensor([10.0, -3.0]), torch.tensor([2.0, 0.5]))
    model: AutoencoderModel = assemble_autoencoder(
        ENCODERS["identity"], IdentityBottleneck, spec=SPEC, normaliser=scales
    )
    exact = model.validation_scores(batch, Noise([]))
    assert float(exact["high_frequency_ratio"]) == pytest.approx(1)
    model.autoencoder.decoder.decode = lambda z: 0.5 * z
    assert float(model.validation_scores(batch, Noise([]))["high_frequency_ratio"]) == pytest.approx(0.25, rel=1e-3)


def unrolled_batch(n_windows: int) -> Batch:
    batch = make_batch()
    return dataclasses.replace(batch, output_fields=torch.cat([batch.output_fields] * n_windows, dim=1))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_window_is_encoded_by_itself(encoder: str) -> None:
    emulator, batch = make_emulator(encoder, DIRECT), unrolled_batch(3)
    outputs = emulator.encode(batch).outputs
    windows = outputs.split(outputs.shape[1] // 3, dim=1)
    for window in windows:
        torch.testing.assert_close(window, emulator.encode(make_batch()).outputs)


def test_one_window_of_several_is_scored_and_scales_increments() -> None:
    noise = functools.partial(Noise, [(0, i) for i in range(N_BATCH)])
    scores, scales = [], []
    for batch in (make_batch(), unrolled_batch(2)):
        emulator = make_emulator(processor=DIRECT)
        emulator.fit_latents(iter([batch]))
        scores.append(emulator.validation_scores(batch, noise())["vrmse"])
        scales.append(emulator.processor.increment_scale)
    torch.testing.assert_close(*scores)
    torch.testing.assert_close(*scales)


@pytest.mark.parametrize("n_windows", [1, 2])
def test_encoder_calls_do_not_grow_with_the_members(n_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_rows = []
    for n_members in (2, 8):
        emulator = make_emulator(processor=functools.partial(Ensemble, backbone=UNET, n_members_train=n_members))
        encoder, seen = emulator.autoencoder.encoder, []
        encode = encoder.encode
        monkeypatch.setattr(encoder, "encode", lambda x, encode=encode, seen=seen: (seen.append(len(x)), encode(x))[1])
        emulator.loss(unrolled_batch(n_windows), Noise([(0, i) for i in range(N_BATCH)]))["loss"].backward()
        n_rows.append(seen)
    assert n_rows == [[N_BATCH, n_windows * N_BATCH]] * 2


def test_a_processor_that_cannot_unroll_is_refused() -> None:
    normaliser = Normaliser.identity(2)
    sizes = {"n_steps_input": N_INPUT, "n_steps_output": N_OUTPUT, "n_windows": 2}
    with pytest.raises(ConfigError, match=r"training.n_windows=2: FlowMatching learns one window at a time"):
        assemble_emulator(IdentityEncoder, IdentityBottleneck, FLOW, spec=SPEC, normaliser=normaliser, **sizes)


@pytest.mark.parametrize("processor", [DIRECT, FLOW])
def test_what_a_processor_does_for_a_window_is_compiled_as_one(
    processor: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def keep(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def compiled(*inputs: Any) -> Any:
            asked.append(options)
            return function(*inputs)

        return compiled

    monkeypatch.setattr(torch, "compile", keep)
    emulator, batch = make_emulator(processor=processor), make_batch()
    expected = forecast(emulator, batch)
    emulator.compile_forecasts("reduce-overhead")
    assert torch.equal(forecast(emulator, batch), expected)
    assert asked == [{"mode": "reduce-overhead", "fullgraph": True}] * 3
