"""Published weights of perceptual terms: given once, missed before anything starts, and free to move."""

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs.compose import compose
from autocast.runs.identity import signature
from autocast.runs.reopen import reopen
from autocast.runs.request import Request

TERM = "model.objective.terms.perceptual"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    (tmp_path / "vgg.pth").touch()
    (tmp_path / "heads.pth").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return compose(Request("ae", overrides=("objective=vae_perceptual", "model.bottleneck=gaussian", *words)))


def said(composition):
    return {problem.subject: problem.message for problem in composition.problems}


def term(composition):
    assert not composition.problems
    return OmegaConf.select(composition.config, TERM)


def test_the_section_is_what_terms_get():
    found = term(
        run(f"{TERM}.features=lpips", "perceptual.weights_file=[vgg.pth,heads.pth]", "perceptual.device=cuda:1")
    )
    assert (found.features, found.weights_file, found.device) == ("lpips", ["vgg.pth", "heads.pth"], "cuda:1")
    assert term(run()).weights_file is None


def test_lpips_without_weights_is_written_down_as_what_it_becomes():
    composition = run(f"{TERM}.features=lpips")
    assert term(composition).features == "random_conv"
    assert composition.notes == [f"{TERM}: lpips without perceptual.weights_file is random_conv"]
    assert not run().notes


def test_files_that_are_missing_are_told_at_once():
    word = "perceptual.weights_file=nowhere.pth"
    assert said(run(f"{TERM}.features=vgg16", word)) == {word: "nowhere.pth: no such file."}
    message = said(run(f"{TERM}.features=vgg19"))["perceptual.weights_file"]
    assert message.startswith("vgg19 has published weights")
    assert message.endswith("choose features=random_conv, which needs none.")
    own = f"{TERM}.weights_file=[vgg.pth,gone.pth]"
    assert said(run(f"{TERM}.features=lpips", own)) == {own: "gone.pth: no such file."}
    assert not run(word).problems  # the encoder needs none
    assert "is wanted" in said(run("perceptual.weights_file=3"))["perceptual.weights_file=3"]


def test_a_run_that_goes_on_may_have_its_files_and_devices_elsewhere(workplace):
    first = run(f"{TERM}.features=vgg16", "perceptual.weights_file=vgg.pth", "perceptual.device=cuda:1")
    file = workplace / "run" / "autoencoder.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(OmegaConf.to_container(first.config)))
    same = reopen(Request("ae"), file)
    assert same.config == first.config
    moved = reopen(Request("ae", ("perceptual.weights_file=heads.pth", "perceptual.device=null")), file)
    assert (term(moved).weights_file, term(moved).device) == ("heads.pth", None)
    first, moved = (OmegaConf.to_container(composition.config) for composition in (first, moved))
    assert signature(first, "train", {}) == signature(moved, "train", {})
    (workplace / "vgg.pth").unlink()
    assert said(reopen(Request("ae"), file)) == {"perceptual.weights_file": "vgg.pth: no such file."}
    assert not reopen(Request("eval"), file).problems  # an evaluation does without
