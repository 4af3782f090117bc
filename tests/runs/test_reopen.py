"""A run's saved config wins over today's defaults, and overrides win over it."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.errors import LaunchError
from autocast.runs.compose import compose
from autocast.runs.directory import RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.reopen import reopen
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def saved(workplace):
    """The frozen config of a run that was started with other settings than today's defaults."""
    words = ("model.processor=direct", "model.processor.backbone.width=8", "eval.n_members=3", "seed=7")
    return freeze(compose(Request("epd", overrides=words)), workplace / "run" / "encoder_processor_decoder.yaml")


def freeze(composition, file):
    assert not composition.problems
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(OmegaConf.to_container(composition.config)))
    return file


def edit(file, change):
    config = yaml.safe_load(file.read_text())
    change(config)
    file.write_text(yaml.safe_dump(config))


def run(saved, *words, **flags):
    return reopen(Request("eval", overrides=words, **flags), saved)


def test_the_saved_config_comes_back_as_it_was(saved):
    composition = reopen(Request("epd"), saved)
    assert not composition.problems
    assert OmegaConf.to_container(composition.config) == yaml.safe_load(saved.read_text())


def test_a_secret_in_a_saved_config_is_refused_and_not_repeated(saved, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "abcdef123456")
    leaf = {"_target_": "lightning.pytorch.loggers.WandbLogger", "entity": "abcdef123456"}
    edit(saved, lambda config: config["logging"].update(wandb=leaf))
    composition = run(saved)
    assert ["MY_API_TOKEN" in problem.message for problem in composition.problems] == [True]
    assert "abcdef123456" not in f"{composition.problems} {OmegaConf.to_yaml(composition.config)}"


def test_a_window_of_one_lead_time_may_be_a_number(saved):
    composition = run(saved, "eval.windows=[1,2:4]")
    assert not composition.problems
    assert composition.config.eval.windows == [1, "2:4"]
    assert [p.subject for p in run(saved, "eval.windows=[1.5]").problems] == ["eval.windows=[1.5]"]


def test_classes_of_the_users_own_are_found_again(saved, workplace, monkeypatch):
    (workplace / "ours.py").write_text("class Mine:\n    def __init__(self, spec, *, width: int = 3): ...\n")
    mine = {"_target_": "ours.Mine", "_partial_": True, "width": 4}
    edit(saved, lambda config: config["model"].update(processor=mine))
    monkeypatch.setenv("AUTOCAST_TARGETS", "restored by the fixture")
    monkeypatch.delenv("AUTOCAST_TARGETS")
    assert [p.subject for p in run(saved).problems] == ["model.processor._target_"]
    write_json(RunDirectory(saved.parent).run_file("epd", "train"), {"user_targets": "ours"})
    assert not run(saved).problems
    assert [p.subject for p in run(saved, "model.processor.widht=5").problems] == ["model.processor.widht=5"]
    monkeypatch.setenv("AUTOCAST_TARGETS", "theirs")
    assert [p.subject for p in run(saved).problems] == ["model.processor._target_"]


def test_overrides_win_over_what_was_saved(saved):
    config = run(saved, "eval.n_members=5", "datamodule.batch_size=3", "trainer.max_epochs=99").config
    assert (config.eval.n_members, config.datamodule.batch_size, config.trainer.max_epochs) == (5, 3, 99)
    assert config.seed == 7


def test_mistakes_are_found_as_in_a_new_run(saved):
    found = run(saved, "eval.n_membres=5", "eval.fps=fast", "model.processor.backbone.widht=3").problems
    assert [p.subject for p in found] == ["eval.n_membres=5", "eval.fps=fast", "model.processor.backbone.widht=3"]


def test_new_keys_of_the_evaluation_get_todays_defaults_and_dropped_ones_are_left_out(saved):
    edit(saved, lambda config: config["eval"].pop("max_videos"))
    edit(saved, lambda config: config["eval"].update(forgotten=1))
    composition = run(saved)
    assert not composition.problems
    assert composition.config.eval.max_videos == 16
    assert composition.config.eval.n_members == 3
    assert "eval.forgotten" in composition.notes[0]
    assert "forgotten" not in composition.config.eval


def test_todays_defaults_do_not_enter_elsewhere(saved):
    edit(saved, lambda config: config["trainer"].pop("gradient_clip_val"))
    assert "gradient_clip_val" not in run(saved).config.trainer


def test_a_dataset_changes_only_where_the_data_are(saved, workplace):
    (workplace / "datasets" / "gray_scott").mkdir()
    before = yaml.safe_load(saved.read_text())["datamodule"]
    composition = run(saved, dataset="gray_scott")
    assert not composition.problems
    changed = OmegaConf.to_container(composition.config.datamodule)
    assert changed == before | {"data_path": "datasets/gray_scott"}


def test_data_that_went_away_are_a_problem(saved):
    Path("datasets/reaction_diffusion").rmdir()
    assert [p.subject for p in run(saved).problems] == ["datamodule.data_path"]


def test_options_are_put_in_their_places(workplace):
    file = workplace / "run" / "encoder_processor_decoder.yaml"
    freeze(compose(Request("epd", overrides=("model.processor=flow_matching",))), file)
    config = run(file, "model.processor.sampler=heun", "model.processor.sampler.n_steps=9").config
    assert config.model.processor.sampler._target_.endswith("Heun")
    assert config.model.processor.sampler.n_steps == 9
    assert [p.subject for p in run(file, "model.processor.sampler=hoin").problems] == ["model.processor.sampler=hoin"]


def test_a_preset_cannot_be_added_to_a_run_that_is_there(saved):
    assert [p.subject for p in run(saved, preset="crps").problems] == ["--preset crps"]


def test_an_autoencoder_is_reopened_by_its_own_kind(workplace):
    saved = freeze(compose(Request("ae")), workplace / "run" / "autoencoder.yaml")
    composition = run(saved, "eval.batch_indices=[0,1]")
    assert not composition.problems
    assert "processor" not in composition.config.model


def test_continuing_a_train_eval_has_an_evaluation_too(saved):
    request = Request("train-eval", overrides=("trainer.max_epochs=9", "::eval::", "eval.n_members=6"))
    composition = reopen(request, saved)
    assert not composition.problems
    assert (composition.config.eval.n_members, composition.eval_config.eval.n_members) == (3, 6)


@pytest.mark.parametrize("text", [None, "[1, 2", "- 1", "seed: 3"])
def test_what_is_no_config_of_a_run_is_refused(workplace, text):
    file = workplace / "encoder_processor_decoder.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LaunchError, match="encoder_processor_decoder"):
        run(file)


@pytest.fixture
def trained_on_a_cluster(workplace):
    words = ("cluster=multi_node", "cluster.partition=gpu", "cluster.time=12:00:00")
    composition = compose(Request("epd", overrides=words, mode="slurm"))
    return freeze(composition, workplace / "run" / "encoder_processor_decoder.yaml")


def allocation(config):
    cluster = config.cluster
    return cluster.partition, cluster.time, cluster.nodes, cluster.gpus_per_node


def test_a_training_that_goes_on_keeps_its_cluster(trained_on_a_cluster):
    composition = reopen(Request("epd", mode="slurm", overrides=("cluster.gpus_per_node=2",)), trained_on_a_cluster)
    assert not composition.problems
    assert allocation(composition.config) == ("gpu", "12:00:00", 2, 2)
    assert (composition.config.trainer.devices, composition.config.trainer.num_nodes) == (2, 2)


@pytest.mark.parametrize("given", [{"cluster": "single_gpu"}, {"overrides": ("cluster=single_gpu",)}])
def test_a_training_that_goes_on_takes_the_profile_that_is_given(trained_on_a_cluster, given):
    composition = reopen(Request("epd", mode="slurm", **given), trained_on_a_cluster)
    assert not composition.problems
    assert allocation(composition.config) == (None, None, 1, 1)
    assert (composition.config.trainer.devices, composition.config.trainer.num_nodes) == (1, 1)


@pytest.mark.parametrize("change", [lambda config: config.pop("cluster"), lambda config: config])
def test_a_run_that_asked_for_nothing_takes_todays_profile(saved, workplace, monkeypatch, change):
    """One that was saved before there was a section, and one that never saw a cluster."""
    (workplace / "own" / "cluster").mkdir(parents=True)
    (workplace / "own" / "cluster" / "site.yaml").write_text("partition: gpu\ntime: 12:00:00\n")
    edit(saved, change)
    assert allocation(reopen(Request("epd", mode="slurm"), saved).config) == (None, None, 1, None)
    monkeypatch.setenv("AUTOCAST_CONFIG_PATH", str(workplace / "own"))
    monkeypatch.setenv("AUTOCAST_CLUSTER", "site")
    composition = reopen(Request("epd", mode="slurm"), saved)
    assert not composition.problems
    assert allocation(composition.config) == ("gpu", "12:00:00", 1, None)


def test_keys_of_the_cluster_follow_the_version(trained_on_a_cluster):
    edit(trained_on_a_cluster, lambda config: config["cluster"].pop("max_attempts"))
    edit(trained_on_a_cluster, lambda config: config["cluster"].update(forgotten=1))
    composition = reopen(Request("epd", mode="slurm"), trained_on_a_cluster)
    assert not composition.problems
    assert composition.config.cluster.max_attempts == 20
    assert "cluster.forgotten" in composition.notes[0]


def test_a_training_that_goes_on_here_has_one_node(trained_on_a_cluster):
    config = reopen(Request("epd"), trained_on_a_cluster).config
    assert (config.trainer.devices, config.trainer.num_nodes) == (4, 1)


@pytest.mark.parametrize("mode", ["local", "slurm"])
def test_an_evaluation_has_a_cluster_of_its_own(trained_on_a_cluster, mode):
    composition = run(trained_on_a_cluster, "cluster.time=60", mode=mode, cluster="full_node")
    assert not composition.problems
    assert allocation(composition.config) == (None, 60, 1, 1)
    assert composition.config.cluster.tasks_per_node == 1
    assert (composition.config.trainer.devices, composition.config.trainer.num_nodes) == (1, 1)
    assert allocation(run(trained_on_a_cluster, mode=mode).config) == (None, None, 1, None)


def test_an_evaluation_of_several_processes_is_a_problem(saved):
    assert [p.subject for p in run(saved, "cluster.nodes=2", mode="slurm").problems] == ["cluster.nodes=2"]
    assert [p.subject for p in run(saved, "trainer.devices=2").problems] == ["trainer.devices=2"]


def test_options_from_the_users_own_folder_are_found(workplace, saved):
    (workplace / "own" / "callbacks").mkdir(parents=True)
    (workplace / "own" / "callbacks" / "mine.yaml").write_text("{}\n")
    assert not run(saved, "callbacks=mine", config_dir=workplace / "own").problems
