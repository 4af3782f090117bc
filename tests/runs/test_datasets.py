"""What `--dataset` means."""

import pytest

from autocast.runs.compose import compose
from autocast.runs.datasets import new_dataset_path
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    for name in ("AUTOCAST_DATASETS", "AUTOCAST_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, dataset=None, command="ae"):
    return compose(Request(command=command, overrides=words, dataset=dataset))


def said(composition):
    return {problem.subject: problem.message for problem in composition.problems}


def test_a_directory_is_used_as_it_is(workplace):
    (workplace / "elsewhere" / "mine").mkdir(parents=True)
    composition = run(dataset="elsewhere/mine")
    assert not composition.problems
    assert composition.config.datamodule.data_path == "elsewhere/mine"
    assert composition.choices["datamodule"] == "directory"


def test_a_directory_of_pictures_gets_the_settings_of_pictures(workplace):
    (workplace / "mine" / "train" / "cat").mkdir(parents=True)
    (workplace / "mine" / "train" / "cat" / "a.JPG").touch()
    composition = run("subset=tiny", dataset="mine")
    assert not composition.problems
    assert composition.choices["datamodule"] == "images"
    settings = composition.config.datamodule
    assert (settings.n_steps_output, settings.normalisation, settings.subset) == (0, "minmax", 1000)


def test_a_name_is_looked_up_among_the_datasets(workplace, monkeypatch):
    (workplace / "store" / "mine").mkdir(parents=True)
    monkeypatch.setenv("AUTOCAST_DATASETS", str(workplace / "store"))
    assert run(dataset="mine").config.datamodule.data_path == str(workplace / "store" / "mine")


def test_a_data_set_named_like_an_option_gets_its_settings(workplace):
    (workplace / "datasets" / "gray_scott").mkdir(parents=True)
    composition = run(dataset="gray_scott")
    assert not composition.problems
    assert composition.choices["datamodule"] == "gray_scott"
    assert composition.config.datamodule.data_path == "datasets/gray_scott"


def test_settings_that_are_typed_win(workplace):
    (workplace / "datasets" / "gray_scott").mkdir(parents=True)
    composition = run("datamodule=the_well", "datamodule.batch_size=5", dataset="gray_scott")
    assert composition.choices["datamodule"] == "the_well"
    assert composition.config.datamodule.data_path == "datasets/gray_scott"
    assert composition.config.datamodule.batch_size == 5


def test_an_option_with_its_own_path_is_the_last_resort(workplace):
    (workplace / "more" / "datamodule").mkdir(parents=True)
    (workplace / "archive").mkdir()
    text = f"defaults: [base, _self_]\ndata_path: {workplace / 'archive'}\n"
    (workplace / "more" / "datamodule" / "ours.yaml").write_text(text)
    composition = compose(Request("ae", dataset="ours", config_dir=workplace / "more"))
    assert not composition.problems
    assert composition.config.datamodule.data_path == str(workplace / "archive")


@pytest.mark.parametrize(("name", "remedy"), [("gray_scott", "--dataset gray_scott'"), ("gray_scot", "gray_scott?")])
def test_what_is_not_there_comes_with_the_command_that_makes_it(name, remedy):
    message = said(run(dataset=name))[f"--dataset {name}"]
    assert "autocast data simulate --dataset" in message
    assert remedy in message


def test_the_default_data_set_that_is_not_there_is_a_problem_too():
    assert "autocast data simulate --dataset reaction_diffusion" in said(run())["datamodule.data_path"]


def test_saying_twice_where_the_data_are_is_a_problem(workplace):
    (workplace / "mine").mkdir()
    assert list(said(run("datamodule.data_path=other", dataset="mine"))) == ["datamodule.data_path=other"]


def test_a_data_path_that_is_missing_names_both_ways_to_give_it():
    assert "--dataset DIR" in said(run("datamodule=directory"))["datamodule.data_path"]


def test_simulated_data_are_named_after_their_simulator():
    composition = run(command="simulate", dataset="gray_scott")
    assert not composition.problems
    assert composition.choices["simulator"] == "gray_scott"
    assert composition.config.data_path == "datasets/gray_scott"


def test_simulated_data_may_have_another_name():
    composition = run("simulator=gray_scott", "splits.train=3", command="simulate", dataset="mine")
    assert not composition.problems
    assert (composition.config.data_path, composition.config.splits.train) == ("datasets/mine", 3)
    assert "There are:" in said(run(command="simulate", dataset="mine"))["--dataset mine"]


def test_simulating_without_a_name_uses_the_simulators():
    assert run(command="simulate").config.data_path == "datasets/reaction_diffusion"


def test_wrong_settings_of_a_simulation_are_found():
    found = said(run("splits.train=many", "simulator.grid_shap=[8,12]", command="simulate"))
    assert list(found) == ["splits.train=many", "simulator.grid_shap=[8,12]"]


def test_new_data_go_to_a_path_or_among_the_datasets(workplace):
    assert str(new_dataset_path("mine")) == "datasets/mine"
    assert str(new_dataset_path("./a/mine")) == "a/mine"
    assert new_dataset_path(str(workplace / "mine")) == workplace / "mine"
