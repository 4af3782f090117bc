"""Compiled networks and TF32 in a training."""

import functools
import json

import pytest
import torch

from autocast.assembly import assemble_emulator, load_weights, read_checkpoint
from autocast.autoencoders.bottlenecks import IdentityBottleneck
from autocast.autoencoders.deep_compression import DeepCompressionEncoder
from autocast.data.normaliser import Normaliser
from autocast.errors import ConfigError
from autocast.generative.samplers import Heun
from autocast.nn.compilation import networks_of
from autocast.nn.vit import ViT
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.types import FieldSpec

SPEC = FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), (8, 12), (1.0, 1.5), ("periodic", "wall"), 0.1)
VIT = functools.partial(ViT, dim=8, depth=1, heads=2, patch_size=2)
PROCESSORS = {
    "flow_matching": functools.partial(FlowMatching, backbone=VIT, sampler=Heun(n_steps=2)),
    "ensemble in calls": functools.partial(Ensemble, backbone=VIT, n_members_train=3, members_per_call=2),
    "gradient checkpointing": functools.partial(
        FlowMatching, backbone=functools.partial(VIT, gradient_checkpointing=True), sampler=Heun(n_steps=2)
    ),
}


def emulator(processor, toy, *, frozen=False):
    torch.manual_seed(0)
    model = assemble_emulator(
        functools.partial(DeepCompressionEncoder, widths=[4], blocks=[1], latent_channels=3),
        IdentityBottleneck,
        processor,
        spec=SPEC,
        normaliser=Normaliser.identity(2),
        n_steps_input=toy.N_INPUT,
        n_steps_output=toy.N_OUTPUT,
        frozen=frozen,
    )
    assert len(list(networks_of(model))) == 3
    return model


@pytest.fixture
def traced(unchecked, monkeypatch):
    """Compiles to what was traced as it is, which takes no compiler: in seconds."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def objectives(run_dir):
    lines = (run_dir / "epd" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[name] for line in lines for name in ("train/loss", "val/objective", "val/vrmse")]


def compare(train, toy, run_dir, processor):
    """Trains eagerly and compiled, then goes on eagerly from the compiled run's checkpoint."""
    train(emulator(processor, toy), run_dir=run_dir / "eager", max_epochs=2)
    summary = train(emulator(processor, toy), run_dir=run_dir / "compiled", max_epochs=2, compile="default")
    assert objectives(run_dir / "compiled") == pytest.approx(objectives(run_dir / "eager"), rel=1e-4)
    load_weights(emulator(processor, toy), read_checkpoint(summary.checkpoint_file), summary.checkpoint_file)
    last = run_dir / "compiled" / "epd" / "checkpoints" / "last.ckpt"
    goes_on = {"run_dir": run_dir / "compiled", "resume_from": last, "max_epochs": 3}
    assert train(emulator(processor, toy), compile="default", **goes_on).steps == 12


SLOW = {"ensemble in calls"}
CASES = [
    pytest.param(processor, id=name, marks=pytest.mark.slow if name in SLOW else ())
    for name, processor in PROCESSORS.items()
]


@pytest.mark.parametrize("processor", CASES)
def test_a_compiled_training_is_the_eager_one(train, toy, tmp_path, traced, processor):
    compare(train, toy, tmp_path, processor)


def test_a_network_is_compiled_a_few_times_and_whole(train, toy, traced):
    """For training, for validation, and once for batches of all other sizes."""
    model = emulator(PROCESSORS["ensemble in calls"], toy)
    train(model, max_epochs=3, compile="default")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4 * len(list(networks_of(model)))
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
def test_generated_code_trains_as_well(train, toy, tmp_path, unchecked):
    compare(train, toy, tmp_path, PROCESSORS["flow_matching"])


def test_the_networks_of_a_frozen_autoencoder_are_compiled(train, toy, traced):
    model = emulator(PROCESSORS["flow_matching"], toy, frozen=True)
    train(model, max_epochs=1, compile="default")
    assert all(network._compiled_call_impl is not None for network in networks_of(model))


def test_gradients_in_cuda_graphs_are_not_accumulated(train, toy):
    with pytest.raises(ConfigError, match=r"trainer.compile=max-autotune with trainer.accumulate_grad_batches=2"):
        train(compile="max-autotune", trainer_options={"accumulate_grad_batches": 2})


@pytest.mark.parametrize(("allowed", "inside"), [(True, ("high", True)), (False, ("highest", False))])
def test_tf32_is_as_asked_until_the_training_ends(train, toy, monkeypatch, allowed, inside):
    class Model(toy.ToyModel):
        def loss(self, batch, noise):
            found.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return super().loss(batch, noise)

    found = set()
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    train(Model(), max_epochs=1, tf32=allowed)
    assert found == {inside}
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
