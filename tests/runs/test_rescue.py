"""A run that starts from the weights of one whose KL weight was too large."""

import json

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs.beta import final_weight, kl_beta
from autocast.runs.compose import compose
from autocast.runs.request import Request
from autocast.runs.rescue import WITHOUT

SPEC = {"grid_shape": [16, 12], "channel_names": ["u", "v"]}
N_NUMBERS = 16 * 12 * 2


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def collapsed(workplace):
    """`collapsed(*words)`: a trained run of these words, with an architecture of its own."""

    def make(*words, spec=SPEC):
        chosen = ("encoder=vector", "model.encoder.latent_channels=7", "bottleneck=gaussian", "objective=vae")
        config = compose(Request("ae", overrides=(*chosen, *words))).config
        folder = workplace / "outputs" / "rd" / "ae"
        record = folder / ".autocast" / "ae" / "train" / "run.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"uid": "1", "signature": "2", **({"spec": spec} if spec else {})}))
        (folder / "autoencoder.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(config)))
        (folder / "autoencoder.ckpt").write_bytes(b"weights")

    return make


def rescued(*words, init_from="rd/ae"):
    return compose(Request("ae", overrides=words, preset="resume_fix", init_from=init_from))


def beta(composition, n_numbers=N_NUMBERS):
    return kl_beta(OmegaConf.to_container(composition.config.model.objective), n_numbers)


def said(composition):
    return [(problem.subject, problem.message) for problem in composition.problems]


def test_architecture_and_a_tenth_of_beta_are_taken_over(collapsed):
    collapsed("model.objective.weights.kl.weight=2.0")
    found = rescued()
    assert not found.problems
    assert found.config.model.encoder.latent_channels == 7
    assert found.config.model.bottleneck._target_.endswith("GaussianBottleneck")
    assert beta(found) == pytest.approx(0.2)
    assert found.notes == ["beta 0.2 after 2 in rd/ae, in the units of an ELBO"]
    objective = found.config.model.objective
    assert (objective.weights.kl.warmup, objective.terms.kl.free_bits) == ("30 %", 0.05)
    assert found.config.trainer.gradient_clip_val == 1.0


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("model.objective.reduction=mean", "model.objective.weights.kl.weight=5.0"), 1.0),
        (("model.objective.reduction=mean", "model.objective.weights.kl.weight=1e-4"), 1e-5 * N_NUMBERS),
        (("model.objective.weights.mse=0.5", "model.objective.weights.kl.weight=1.0"), 0.2),
        (("objective=high_quality",), 0.1 * 0.02 / 0.3),
        (("model.objective.weights.kl=3.0",), 0.3),
    ],
)
def test_beta_is_told_in_the_units_of_an_elbo(collapsed, words, wanted):
    collapsed(*words)
    assert beta(rescued()) == pytest.approx(wanted, rel=1e-4)


def test_a_weight_that_is_typed_stays(collapsed):
    collapsed()
    assert beta(rescued("model.objective.weights.kl.weight=0.7")) == pytest.approx(0.7)
    assert beta(rescued("model.objective.weights.spectral.weight=0.7")) == pytest.approx(0.01)


def test_data_are_made_to_what_the_weights_have_learnt_from(collapsed):
    collapsed("datamodule.size=[16,12]", "datamodule.normalisation=minmax", "datamodule.subset=0.5", "seed=7")
    data = rescued().config.datamodule
    assert (data["size"], data.normalisation, data.subset, data.seed) == ([16, 12], "minmax", 0.5, 7)
    assert data.batch_size == 256
    typed = rescued("datamodule.size=8", "subset=tiny", "seed=3").config.datamodule
    assert (typed["size"], typed.normalisation, typed.subset, typed.seed) == (8, "minmax", 1000, 3)


def test_without_a_run_it_is_refused():
    assert ("--init-from", WITHOUT) in said(rescued(init_from=None))


@pytest.mark.parametrize("word", ["model=small", "model.encoder.latent_channels=3", "model.bottleneck=vq"])
def test_an_architecture_is_not_typed_as_well(collapsed, word):
    collapsed()
    assert [message for subject, message in said(rescued(word)) if subject == word and "said twice" in message]


@pytest.mark.parametrize(
    ("words", "spec"), [(("model.objective.reduction=mean",), None), (("objective=mse", "bottleneck=identity"), SPEC)]
)
def test_a_beta_that_cannot_be_told_is_asked_for(collapsed, words, spec):
    collapsed(*words, spec=spec)
    ((subject, message),) = said(rescued())
    assert subject == "--init-from rd/ae"
    assert "model.objective.weights.kl.weight=VALUE" in message


def test_a_run_that_is_not_there_is_told():
    assert "--init-from rd/no" in [subject for subject, _ in said(rescued(init_from="rd/no"))]


def test_weights_end_where_their_annealing_does():
    line = {"_target_": "autocast.losses.annealing.Linear", "weight": 0.3, "warmup": 10}
    points = {"_target_": "autocast.losses.annealing.Piecewise", "points": [[0, 1.0], [10, 0.25]]}
    delayed = {"_target_": "autocast.losses.annealing.Delayed", "then": line, "delay": 5}
    assert [final_weight(weight) for weight in (2, line, points, delayed, {}, None)] == [2, 0.3, 0.25, 0.3, None, None]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("rescue.kl_factor=-1", "-1: a number above 0"),
        ("rescue.kl_at_most=0", "0: a number above 0"),
        ("rescue.kl_factor=less", '"less": a number'),
    ],
)
def test_a_part_of_beta_that_cannot_be(collapsed, word, wanted):
    collapsed()
    assert said(rescued(word)) == [(word, f"{wanted} is wanted.")]
