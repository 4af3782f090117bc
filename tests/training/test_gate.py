"""The sanity gate: what it must catch, what it must let through, and what it must leave alone."""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from autocast.assembly import assemble_autoencoder, assemble_emulator
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.autoencoders.identity import IdentityEncoder
from autocast.data.normaliser import Normaliser
from autocast.nn.backbone import Backbone
from autocast.nn.convolution import Convolution
from autocast.processors.direct import Direct
from autocast.training.gate import report
from autocast.training.gate.blocks import check_blocks
from autocast.training.gate.duration import HOUR, count_batches, is_long, may_be_long
from autocast.training.gate.gate import check_model
from autocast.training.gate.gradients import check_gradients
from autocast.training.gate.overfitting import check_overfitting
from autocast.training.gate.report import FAILED, PASSED, SKIPPED, WARNING, CheckResult, GateError, GateReport
from autocast.training.gate.subject import Subject
from autocast.training.gate.translation import check_translation
from autocast.types import Batch, FieldSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GRID = (16, 16)
SPEC = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), GRID, (1.0, 1.0), ("periodic", "periodic"), 0.1)


class FourierBlock(nn.Module):
    """Multiplies the lowest wave numbers of all channels by weights."""

    def __init__(self, channels: int, n_modes: int = 4) -> None:
        super().__init__()
        self.n_modes = n_modes
        self.weights = nn.Parameter(torch.randn(channels, channels, n_modes, n_modes, 2) / channels)

    def forward(self, x: Tensor) -> Tensor:
        n = self.n_modes
        waves = torch.fft.rfft2(x.float())
        out = torch.zeros_like(waves)
        weights = torch.view_as_complex(self.weights)
        out[:, :, :n, :n] = torch.einsum("bihw,iohw->bohw", waves[:, :, :n, :n], weights)
        return torch.fft.irfft2(out, s=x.shape[2:])


class Layer(nn.Module):
    """A Fourier block and a convolution, added to what comes in; `defect` names what is wrong with it."""

    def __init__(self, channels: int, *, defect: str = "") -> None:
        super().__init__()
        self.fourier = FourierBlock(channels)
        self.convolution = Convolution(channels, channels, 3, periodic=(True, True))
        self.defect = defect

    def forward(self, x: Tensor) -> Tensor:
        h, local = self.fourier(x), torch.nn.functional.gelu(self.convolution(x))
        match self.defect:
            case "thrown away":
                return x + local
            case "times zero":
                return x + local + 0 * h
            case "detached":
                return x + local + h.detach()
            case "cancelled":  # has gradients, yet adds 0
                return x + local + (h - h.detach())
            case "rounded":
                return x + (self.convolution(h) + 3e3 - 3e3) + local
        return x + h + local


class Network(Backbone):
    """Two layers, the second of which may be defective."""

    def __init__(
        self, in_channels: int, out_channels: int, *, condition_features: int, defect: str = "", **grid: Any
    ) -> None:
        super().__init__()
        self.head = Convolution(in_channels, 8, 1, periodic=(True, True))
        self.layers = nn.ModuleList([Layer(8), Layer(8, defect=defect)])
        self.told = nn.Linear(condition_features, 8, bias=False) if condition_features else None
        self.tail = Convolution(8, out_channels, 1, periodic=(True, True))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.head(x)
        if self.told is not None:
            x = x + self.told(condition)[:, :, None, None]
        for layer in self.layers:
            x = layer(x)
        return self.tail(x)


def batch_of(grid: tuple[int, ...] = GRID, *, n_input: int = 1, scalars: Tensor | None = None) -> Batch:
    """Waves that grow."""
    axes = torch.meshgrid(*(2 * math.pi * torch.arange(n) / n for n in grid), indexing="ij")
    rows = []
    for row in range(3):
        wave = torch.stack([sum((a + row).sin() for a in axes), sum((2 * a - row).cos() for a in axes)], dim=-1)
        rows.append(torch.stack([wave * (1 + 0.3 * step) for step in range(n_input + 1)]))
    frames = torch.stack(rows)
    return Batch(frames[:, :n_input], frames[:, n_input:], scalars=scalars)


def emulator(backbone: Callable[..., Backbone] | None = None, spec: FieldSpec = SPEC, **parts: Any) -> Any:
    torch.manual_seed(0)
    parts = {"encoder": IdentityEncoder, "processor": functools.partial(Direct, backbone=backbone), **parts}
    return assemble_emulator(
        parts["encoder"],
        IdentityBottleneck,
        parts["processor"],
        spec=spec,
        normaliser=Normaliser.identity(2),
        scalar_normaliser=Normaliser.identity(spec.n_scalars) if spec.n_scalars else None,
        n_steps_input=1,
        n_steps_output=1,
        frozen=parts.get("frozen", False),
    )


def defective(defect: str) -> Any:
    return emulator(functools.partial(Network, defect=defect))


def results(
    model: nn.Module, batch: Batch | None = None, periodic: tuple[bool, ...] = (True, True)
) -> dict[str, CheckResult]:
    found = check_model(model, batch or batch_of(), periodic=periodic, seconds=600.0)
    return {result.check: result for result in found.results}


def translation(model: nn.Module, batch: Batch | None = None, periodic: tuple[bool, ...] = (True, True)) -> str:
    """What that check alone finds."""
    return check_translation(Subject.of(model, batch or batch_of(), "cpu").alone(), periodic=periodic).result


def failures(model: nn.Module, batch: Batch | None = None) -> dict[str, CheckResult]:
    return {check: found for check, found in results(model, batch).items() if found.result == FAILED}


def test_a_sound_network_passes_every_check() -> None:
    assert {found.result for found in results(defective("")).values()} == {PASSED}


@pytest.mark.parametrize("defect", ["thrown away", "times zero"])
def test_a_fourier_block_whose_output_is_thrown_away_is_found(defect: str) -> None:
    found = failures(defective(defect))
    assert found.keys() == {report.GRADIENTS, report.BLOCKS}
    assert found[report.GRADIENTS].names == ("processor.backbone.layers.1.fourier.weights",)
    assert found[report.BLOCKS].names == ("processor.backbone.layers.1.fourier",)


def test_a_detached_branch_is_found() -> None:
    found = failures(defective("detached"))
    assert found.keys() == {report.GRADIENTS}
    assert "layers.1.fourier.weights" in found[report.GRADIENTS].figure
    assert "detach()" in found[report.GRADIENTS].advice


def test_a_block_that_has_gradients_but_adds_nothing_is_found() -> None:
    assert failures(defective("cancelled")).keys() == {report.BLOCKS}


def test_blocks_that_there_was_no_time_for_are_a_warning() -> None:
    subject = Subject.of(defective("cancelled"), batch_of(), "cpu").alone()
    found = check_blocks(subject, subject, seconds=-1.0)
    assert found.result == WARNING
    assert re.match(r"0 of (\d+) blocks; no time for \1 more", found.figure)


def test_cancellation_in_bfloat16_is_found_with_its_place() -> None:
    found = failures(defective("rounded"))
    assert found.keys() == {report.PRECISION}
    assert found[report.PRECISION].names[0] == "processor.backbone.layers.1"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_at_the_start_are_named(value: float) -> None:
    model = defective("")
    model.processor.backbone.layers[0].fourier.weights.data[0, 0, 0, 0, 0] = value
    found = results(model)
    assert found[report.FINITE].result == FAILED
    assert found[report.FINITE].names == ("processor.backbone.layers.0.fourier.weights",)
    assert {r.result for check, r in found.items() if check != report.FINITE} == {SKIPPED}


class Broken(Network):
    """What a module gives, or a gradient, is NaN."""

    def __init__(self, *channels: int, **options: Any) -> None:
        self.how = options.pop("how")
        super().__init__(*channels, **options)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.how == "output":
            return super().forward(x - torch.inf, condition)
        return super().forward(x, condition) + (0 * self.told.weight.sum()).sqrt() if self.told else x


def test_the_first_module_whose_output_is_not_finite_is_named() -> None:
    found = failures(emulator(functools.partial(Broken, how="output")))
    assert "processor.backbone.head.convolution " in found[report.FINITE].figure


def test_a_gradient_that_is_not_finite_is_found() -> None:
    spec = _with_scalar()
    found = failures(emulator(functools.partial(Broken, how="gradient"), spec), batch_of(scalars=torch.ones(3, 1)))
    assert "gradient of processor.backbone.told.weight" in found[report.FINITE].figure


def test_data_that_are_not_finite_are_not_blamed_on_the_model() -> None:
    batch = batch_of()
    batch.input_fields[:, 0, 3, 3, 0] = float("nan")
    assert "data" in failures(defective(""), batch)[report.FINITE].figure


class Place(Network):
    """Adds something that depends on the place alone."""

    def __init__(self, *channels: int, **options: Any) -> None:
        self.size = options.pop("size")
        super().__init__(*channels, **options)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return super().forward(x, condition) + self.size * torch.linspace(0, 1, 16)


class Padded(Network):
    """Pads a periodic axis with zeros."""

    def __init__(self, *channels: int, **options: Any) -> None:
        super().__init__(*channels, **options)
        self.head = Convolution(channels[0], 8, 3, periodic=(True, False))


def test_zero_padding_on_a_periodic_axis_fails_and_a_weak_place_warns() -> None:
    padded = emulator(Padded)
    assert translation(padded) == FAILED
    assert translation(padded, periodic=(True, False)) == PASSED
    assert translation(padded, periodic=(False, False)) == SKIPPED
    assert translation(emulator(functools.partial(Place, size=0.02))) == WARNING


class Blind(Network):
    """Does not look at the fields."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return super().forward(x, condition).mean(dim=(2, 3), keepdim=True).expand(-1, -1, 16, 16)


def test_a_network_that_cannot_learn_a_batch_by_heart_is_found() -> None:
    found, _ = check_overfitting(Subject.of(emulator(Blind), batch_of(), "cpu"))
    assert found.result == FAILED
    assert "of the loss of zeros left" in found.figure


class Shut(Network):
    """Its layers are behind gates that start at 0."""

    def __init__(self, *channels: int, **options: Any) -> None:
        super().__init__(*channels, **options)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.gate * (self.layers[1](self.layers[0](x))))


def test_gates_that_start_shut_are_given_time_to_open() -> None:
    found = results(emulator(Shut))
    assert {r.result for r in found.values()} == {PASSED}
    assert "after some steps" in found[report.GRADIENTS].figure


def test_a_scalar_that_never_varies_is_worth_a_warning_only() -> None:
    found = results(emulator(Network, _with_scalar()), batch_of(scalars=torch.zeros(3, 1)))
    assert found[report.GRADIENTS].result == WARNING
    assert "told" in found[report.GRADIENTS].figure
    subject = Subject.of(emulator(Network, _with_scalar()), batch_of(scalars=torch.ones(3, 1)), "cpu")
    assert check_gradients(subject, subject).result == PASSED


def _with_scalar() -> FieldSpec:
    return FieldSpec(**{**SPEC.__dict__, "scalar_names": ("nu",)})


@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_and_the_random_numbers_are_left_alone(frozen: bool) -> None:
    encoder = functools.partial(DeepCompressionEncoder, widths=[4], blocks=[1], latent_channels=3)
    model = emulator(Network, encoder=encoder, frozen=frozen).eval()
    model.processor.backbone.head.train()
    model.processor.backbone.tail.convolution.bias.grad = torch.ones(3)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    state = torch.get_rng_state()
    check_model(model, batch_of(), periodic=(True, True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        "processor.backbone.tail.convolution.bias"
    }


def test_a_frozen_autoencoder_needs_no_gradient() -> None:
    encoder = functools.partial(DeepCompressionEncoder, widths=[4], blocks=[1], latent_channels=3)
    found = results(emulator(Network, encoder=encoder, frozen=True))
    assert found[report.GRADIENTS].result == found[report.BLOCKS].result == PASSED


def test_an_autoencoder_passes() -> None:
    torch.manual_seed(0)
    encoder = functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=6)
    model = assemble_autoencoder(encoder, IdentityBottleneck, spec=SPEC, normaliser=Normaliser.identity(2))
    assert {r.result for r in results(model).values()} == {PASSED}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def composed(*words: str, change: Callable[[Any], Any] = lambda leaf: leaf) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        leaf = OmegaConf.to_container(compose(overrides=list(words)), resolve=True)["leaf"]
    return instantiate(change(leaf), _convert_="all")


def with_small_backbones(leaf: Any) -> Any:
    """The same processor with the network of these tests."""
    if not isinstance(leaf, dict):
        return leaf
    if leaf.get("_target_", "").startswith("autocast.nn."):
        return {"_target_": f"{__name__}.Network", "_partial_": True}
    return {key: with_small_backbones(part) for key, part in leaf.items()}


@pytest.mark.parametrize("option", options("processor"))
def test_shipped_processors_pass(option: str) -> None:
    model = emulator(processor=composed(f"+processor@leaf={option}", change=with_small_backbones))
    assert {r.result for r in results(model).values()} == {PASSED}


@pytest.mark.parametrize("option", options("backbone"))
def test_shipped_backbones_pass(option: str) -> None:
    found = results(emulator(composed(f"+backbone@leaf={option}", "+size=xs")))
    assert {r.result for r in found.values()} == {PASSED}


@pytest.mark.parametrize(("grid", "periodic"), [((12,), (True,)), ((4, 6, 8), (True, False, True))])
def test_one_and_three_dimensions(grid: tuple[int, ...], periodic: tuple[bool, ...]) -> None:
    boundary = tuple("periodic" if wraps else "wall" for wraps in periodic)
    spec = FieldSpec("toy", ("u", "v"), ("", ""), tuple("xyz"[: len(grid)]), grid, (1.0,) * len(grid), boundary, 0.1)
    backbone = composed("+backbone@leaf=unet", "+size=xs", "leaf.levels=2", "leaf.width=8")
    assert {r.result for r in results(emulator(backbone, spec), batch_of(grid), periodic).values()} == {PASSED}


@pytest.mark.parametrize(("n", "result"), [(12, PASSED), (4, SKIPPED)])
def test_strides_are_respected(n: int, result: str) -> None:
    """With a stride of 4 a shift by 6 of 12 points is none that the network commutes with; one by 4 is."""
    spec = FieldSpec("toy", ("u", "v"), ("", ""), ("x",), (n,), (1.0,), ("periodic",), 0.1)
    backbone = composed("+backbone@leaf=unet", "+size=xs", "leaf.levels=3", "leaf.width=4", "leaf.blocks=1")
    assert translation(emulator(backbone, spec), batch_of((n,)), (True,)) == result


def test_an_encoder_that_is_trained_along_does_not_move_the_target() -> None:
    processor = composed("+processor@leaf=flow_matching", change=with_small_backbones)
    encoder = functools.partial(DeepCompressionEncoder, widths=[8], blocks=[1], latent_channels=4)
    found = results(emulator(processor=processor, encoder=encoder))
    assert {r.result for r in found.values()} == {PASSED}


def test_a_failure_tells_what_it_found_and_what_to_do() -> None:
    failed = CheckResult(report.BLOCKS, FAILED, "the loss does not notice a.b", "Use it.", ("a.b",))
    found = GateReport((CheckResult(report.FINITE, PASSED, "fine"), failed), 0.5)
    assert not found.passed
    assert found.to_dict()["checks"][1]["names"] == ("a.b",)
    with pytest.raises(GateError, match=r"every block matters: the loss does not notice a.b. Use it. Or do not."):
        found.raise_if_failed("Or do not.")
    GateReport((CheckResult(report.FINITE, WARNING, "fine"),), 0.5).raise_if_failed("")


class Counted(nn.Module):
    """A model that counts its losses."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = [0]

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        other = Counted()
        other.calls = self.calls
        return other

    def loss(self, batch: Batch, noise: Any) -> dict[str, Tensor]:
        self.calls[0] += 1
        return {"loss": self.weight**2}


@pytest.mark.parametrize(
    ("n_batches", "limit", "long"),
    [(math.inf, HOUR, False), (300, math.inf, False), (math.inf, 2 * HOUR, True), (400, math.inf, True)],
)
def test_short_trainings_are_recognised_without_measuring(n_batches: float, limit: float, long: bool) -> None:
    assert may_be_long(n_batches, limit) == long


@pytest.mark.parametrize(("n_batches", "long", "n_calls"), [(math.inf, True, 0), (1e12, True, 3), (400, False, 1)])
def test_others_are_measured_no_longer_than_needed(n_batches: float, long: bool, n_calls: int) -> None:
    model = Counted()
    assert is_long(model, batch_of(), n_batches=n_batches) == long
    assert model.calls == [n_calls]
    assert model.weight.grad is None


def test_the_batches_of_a_training_are_counted() -> None:
    bounds: dict[str, Any] = {"max_epochs": 3, "max_steps": -1, "limit_train_batches": None, "accumulated": 2}
    assert count_batches(10, **bounds) == 30
    assert count_batches(10, **{**bounds, "max_steps": 7}) == 14
    assert count_batches(10, **{**bounds, "limit_train_batches": 0.5}) == 15
    assert count_batches(10, **{**bounds, "limit_train_batches": 4}) == 12
    assert count_batches(10, **{**bounds, "max_epochs": -1}) == math.inf
