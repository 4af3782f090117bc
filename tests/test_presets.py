"""Trainings of autoencoders that are chosen by name: no two are the same, each is built and makes steps."""

from functools import cache
from itertools import combinations

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from autocast.data.normaliser import Normaliser
from autocast.generative.noise import Noise
from autocast.losses.annealing import END
from autocast.runs.build import build
from autocast.runs.compose import AUTOENCODER
from autocast.runs.composer import Composer
from autocast.runs.tree import config_tree, own_configs
from autocast.types import Batch, FieldSpec

TREE = config_tree([])
NAMED = ("training", "model", "preset")
"""Groups whose options choose others, or set what several sections hold."""
MODES = ("quick_test", "fast_high_quality", "ultra_high_quality", "balanced_high_quality", "full_retrain", "resume_fix")
SMALL = {
    "VectorEncoder": {"widths": [4, 6, 6, 6], "latent_channels": 5},
    "KLEncoder": {"base_ch": 4, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": []},
    "DeepCompressionEncoder": {"widths": [4, 6], "blocks": [1, 1], "latent_channels": 3},
}
"""What makes an encoder quick, by its class."""
QUANTISED = ("vq",)
"""Objectives of codes; what others measure is there with a distribution, too."""


def spec(*grid_shape):
    return FieldSpec("toy", ("u", "v"), ("", ""), ("x", "y"), grid_shape, (1.0, 1.0), ("periodic", "wall"), 0.1)


@cache
def composer():
    return Composer.of(AUTOENCODER)


@cache
def config(*words):
    draft = composer().draft(composer().read(words).choices)
    assert not draft.problems
    return OmegaConf.to_container(draft.config, resolve=True)


def small_model(words):
    """A model of these words for small fields, and a batch of those."""
    parts = OmegaConf.to_container(OmegaConf.create(config(*words)["model"]))
    parts["encoder"] |= SMALL[parts["encoder"]["_target_"].rpartition(".")[2]]
    for term in parts["objective"]["terms"].values():
        if "discriminator" in term:
            term["discriminator"] |= {"base_channels": 4, "n_layers": 1}
    torch.manual_seed(0)
    fields = spec(32, 32)
    model = build(parts, spec=fields, normaliser=Normaliser.identity(fields.n_channels))
    x = torch.randn(3, 1, *fields.grid_shape, fields.n_channels)
    return model.train(), Batch(x, x)


def noise(step):
    return Noise([(step, row) for row in range(3)])


def of_modes():
    """`objective=mse_l1 bottleneck=gaussian`, `preset=quick_test`, ..."""
    for objective in TREE.shown("objective"):
        bottleneck = "vq" if objective in QUANTISED else "identity" if objective == "mse" else "gaussian"
        yield f"objective={objective}", f"bottleneck={bottleneck}"
    yield from ((f"preset={name}",) for name in ("quick_test", "vae", "vae_small"))


def test_no_two_objectives_are_the_same():
    found = [OmegaConf.to_container(composer().option("objective", name)) for name in TREE.shown("objective")]
    assert not [pair for pair in combinations(found, 2) if pair[0] == pair[1]]


@pytest.mark.parametrize("group", NAMED)
def test_no_two_options_of_a_group_are_the_same_setting(group):
    found = {option: config(f"{group}={option}") for option in TREE.shown(group, AUTOENCODER) if fits(group, option)}
    assert len(found) > 2
    assert not [pair for pair in combinations(found, 2) if found[pair[0]] == found[pair[1]]]


def test_no_two_files_of_any_group_say_the_same():
    for group in TREE.options:
        found = [yaml.safe_load((own_configs() / group / f"{name}.yaml").read_text()) for name in TREE.shown(group)]
        assert not [pair for pair in combinations(found, 2) if pair[0] == pair[1]], group


def fits(group, option):
    """Presets of emulators say nothing of what they are for, and fit no autoencoder."""
    return group != "preset" or AUTOENCODER in TREE.roots(group, option) or option.startswith("autoencoder_")


def test_every_mode_is_there():
    assert {*MODES, "vae", "vae_small"} <= {o for o in TREE.shown("preset", AUTOENCODER) if fits("preset", o)}


@pytest.mark.parametrize("words", [*of_modes()], ids=" ".join)
def test_every_term_teaches_the_autoencoder_and_steps_are_made(words):
    """At the weights of the end, when all of them count."""
    model, batch = small_model(words)
    model.advance(END)
    parameters = [p for p in model.autoencoder.parameters() if p.requires_grad]
    coded = model.contest(batch, noise(0))[1]
    for name, term in model.objective.terms.items():
        assert model.objective.weights[name].at(END) > 0
        gradients = torch.autograd.grad(term.measure(coded).sum(), parameters, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients), name
    optimizer = torch.optim.Adam(parameters, 1e-3)
    for step in (1, 2):
        optimizer.zero_grad()
        loss = model.loss(batch, noise(step))["loss"]
        loss.backward()
        optimizer.step()
        assert loss.isfinite()


def test_sizes_differ_in_their_parameters():
    counts = {}
    for name in TREE.shown("model", AUTOENCODER):
        with torch.device("meta"):
            model = build(config(f"model={name}")["model"], spec=spec(64, 64), normaliser=Normaliser.identity(2))
        counts[name] = sum(parameter.numel() for parameter in model.autoencoder.parameters())
    assert len(set(counts.values())) == len(counts)
    assert counts["small"] < counts["medium"] < counts["large"] < counts["ultra_high_quality"]
    assert counts["fast_high_quality"] < counts["high_res"] < counts["balanced_high_quality"]


def test_modes_are_combinations_of_their_groups():
    assert config("preset=full_retrain") == {
        **config("objective=full_retrain_optimal", "training=full_retrain_training", "model=fast_high_quality"),
    }
    assert config("preset=ultra_high_quality")["kl_warmup"] == "20 %"
