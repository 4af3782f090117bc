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


@pytest.fixture
def elsewhere(trained):
    """The same autoencoder, trained on data and with settings that are not the defaults."""
    file, data = trained / "autoencoder.yaml", trained.parents[2] / "datasets" / "waves"
    data.mkdir()
    config = yaml.safe_load(file.read_text())
    config["datamodule"] |= {"data_path": str(data), "normalisation": "rms", "augment": None, "memory_limit": 7.0}
    file.write_text(yaml.safe_dump(config))
    return str(data)


def data_of(composition):
    assert not composition.problems
    data = composition.config.datamodule
    return data.data_path, data.normalisation, data.augment is None, data.memory_limit


def test_a_processor_has_the_data_of_its_autoencoder(elsewhere):
    assert data_of(run(command="processor", autoencoder="rd/ae")) == (elsewhere, "rms", True, 2.0)
    composition = run("datamodule.batch_size=3", command="processor", autoencoder="rd/ae")
    assert (composition.config.datamodule.batch_size, list(composition.config.model.encoder.widths)) == (3, [4, 6])
    assert data_of(run(autoencoder="rd/ae")) == ("datasets/reaction_diffusion", "zscore", False, 2.0)


def test_a_cache_has_all_settings_of_the_data_of_its_autoencoder(elsewhere):
    composition = run("datamodule.n_workers=2", command="cache-latents", autoencoder="rd/ae")
    assert data_of(composition) == (elsewhere, "rms", True, 7.0)
    assert composition.config.datamodule.n_workers == 2
    assert "model" not in composition.config


@pytest.mark.parametrize("command", ["processor", "cache-latents"])
def test_data_that_are_named_win_and_bring_their_symmetries(elsewhere, command):
    there = "datasets/reaction_diffusion"
    for words, flags in [((), {"dataset": "reaction_diffusion"}), (("datamodule=reaction_diffusion",), {})]:
        assert data_of(run(*words, command=command, autoencoder="rd/ae", **flags))[:3] == (there, "rms", False)
    words = (f"datamodule.data_path={there}", "datamodule.normalisation=none")
    assert data_of(run(*words, command=command, autoencoder="rd/ae"))[:3] == (there, "none", True)


@pytest.mark.parametrize("command", ["processor", "cache-latents"])
def test_what_stands_on_an_autoencoder_wants_one(workplace, command):
    (problem,) = run(command=command).problems
    assert problem.subject == "--autoencoder"
    assert "autocast ae" in problem.message


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
