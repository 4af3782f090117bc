"""An emulator takes the architecture of its autoencoder from the run that trained it."""

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs.compose import compose
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(workplace):
    """A run with an autoencoder of its own widths."""
    config = compose(Request("ae", overrides=("model.encoder.widths=[4,6]",))).config
    folder = workplace / "outputs" / "rd" / "ae"
    folder.mkdir(parents=True)
    (folder / "autoencoder.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(config)))
    (folder / "autoencoder.ckpt").write_bytes(b"weights")
    return folder


def run(*words, command="epd", **flags):
    return compose(Request(command, overrides=words, **flags))


def subjects(composition):
    return [problem.subject for problem in composition.problems]


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("autoencoder_checkpoint=outputs/rd/ae/autoencoder.ckpt",), None),
        ((), "rd/ae"),
        ((), "outputs/rd/ae"),
        ((), "outputs/rd/ae/autoencoder.ckpt"),
    ],
)
def test_the_architecture_is_that_of_the_run(trained, words, flag):
    composition = run(*words, autoencoder=flag)
    assert not composition.problems
    assert list(composition.config.model.encoder.widths) == [4, 6]
    assert composition.config.model.decoder is None
    assert composition.config.autoencoder_checkpoint == "outputs/rd/ae/autoencoder.ckpt"


def test_a_checkpoint_inside_the_run_finds_the_config_too(trained):
    file = trained / "ae" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    composition = run(f"autoencoder_checkpoint={file}")
    assert not composition.problems
    assert list(composition.config.model.encoder.widths) == [4, 6]


@pytest.mark.parametrize("word", ["model.encoder=dc", "model.encoder.widths=[3]", "decoder@model.decoder=dc"])
def test_an_architecture_typed_twice_is_a_problem(trained, word):
    if word == "model.encoder.widths=[3]":
        assert word in subjects(run("model.encoder=dc", word, autoencoder="rd/ae"))
    else:
        assert subjects(run(word, autoencoder="rd/ae")) == [word]


def test_two_autoencoders_are_a_problem(trained):
    word = "autoencoder_checkpoint=outputs/rd/ae/autoencoder.ckpt"
    assert subjects(run(word, autoencoder="rd/ae")) == [word]


def test_what_is_not_there_is_a_problem_of_what_was_typed(trained):
    assert subjects(run("autoencoder_checkpoint=nowhere.ckpt")) == ["autoencoder_checkpoint=nowhere.ckpt"]
    assert subjects(run(autoencoder="rd/none")) == ["--autoencoder rd/none"]
    (trained / "autoencoder.ckpt").unlink()
    assert subjects(run(autoencoder="rd/ae")) == ["--autoencoder rd/ae"]


def test_a_checkpoint_without_its_config_is_a_problem(workplace):
    (workplace / "autoencoder.ckpt").write_bytes(b"weights")
    assert "autoencoder.yaml" in run(autoencoder="autoencoder.ckpt").problems[0].message


def test_the_checkpoint_of_an_emulator_is_no_autoencoder(trained):
    (trained / "encoder_processor_decoder.ckpt").write_bytes(b"weights")
    file = "outputs/rd/ae/encoder_processor_decoder.ckpt"
    assert "not the checkpoint of an autoencoder" in run(autoencoder=file).problems[0].message


def test_an_autoencoder_takes_none(trained):
    assert subjects(run(command="ae", autoencoder="rd/ae")) == ["--autoencoder rd/ae"]


@pytest.mark.parametrize("name", ["rd/ae", "outputs/rd/ae", "outputs/rd/ae/autoencoder.ckpt"])
def test_in_slurm_mode_an_autoencoder_may_still_be_in_training(trained, name):
    (trained / "autoencoder.ckpt").unlink()
    assert subjects(run(autoencoder=name)) == [f"--autoencoder {name}"]
    composition = run(autoencoder=name, mode="slurm")
    assert not composition.problems
    assert list(composition.config.model.encoder.widths) == [4, 6]
    assert composition.config.autoencoder_checkpoint == "outputs/rd/ae/autoencoder.ckpt"
    word = "autoencoder_checkpoint=outputs/rd/ae/autoencoder.ckpt"
    assert not run(word, mode="slurm").problems


@pytest.mark.parametrize("name", ["rd/none", "nowhere.ckpt", "outputs/rd/ae/ae/checkpoints/best-0003.ckpt"])
def test_in_slurm_mode_too_a_run_must_be_there_and_make_the_file(trained, name):
    (trained / "autoencoder.ckpt").unlink()
    assert subjects(run(autoencoder=name, mode="slurm")) == [f"--autoencoder {name}"]
