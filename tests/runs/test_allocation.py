"""One source for devices: the trainer follows the cluster section, and what contradicts it is told."""

import pytest
from omegaconf import OmegaConf

from autocast.runs.compose import compose
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def run(*words, command="epd", mode="slurm", **flags):
    return compose(Request(command, overrides=words, mode=mode, **flags))


def said(*words, **flags):
    return {problem.subject: problem.message for problem in run(*words, **flags).problems}


def devices(config):
    return config.trainer.devices, config.trainer.num_nodes


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), (1, 1)),
        (("cluster=single_gpu",), (1, 1)),
        (("cluster=full_node",), (4, 1)),
        (("cluster=multi_node", "cluster.gpus_per_node=3"), (3, 2)),
        (("cluster.tasks_per_node=2", "cluster.nodes=2"), (2, 2)),
        (("cluster.gpus_per_node=4", "cluster.tasks_per_node=1"), (1, 1)),
        (("cluster.gpus_per_node=0",), (1, 1)),
        (("trainer.devices=auto", "cluster=full_node"), (4, 1)),
        (("trainer.devices=4", "trainer.num_nodes=1", "cluster=full_node"), (4, 1)),
    ],
)
def test_devices_and_nodes_of_the_trainer_follow_the_section(words, found):
    composition = run(*words)
    assert not composition.problems
    assert devices(composition.config) == found


def test_workers_of_the_loaders_follow_the_cpus_unless_they_are_typed():
    assert run("cluster.cpus_per_task=8").config.datamodule.n_workers == 7
    assert run("cluster.cpus_per_task=8", "datamodule.n_workers=2").config.datamodule.n_workers == 2
    assert run("cluster.cpus_per_task=8", mode="local").config.datamodule.n_workers == 0


def test_typing_both_differently_names_both():
    found = said("trainer.devices=2", "cluster.gpus_per_node=4")
    assert list(found) == ["trainer.devices=2"]
    assert "cluster.gpus_per_node=4 makes it 4" in found["trainer.devices=2"]
    assert "cluster.nodes=3 makes it 3" in said("trainer.num_nodes=2", "cluster.nodes=3")["trainer.num_nodes=2"]


def test_typing_only_the_trainers_names_the_key_to_set():
    found = said("trainer.devices=2", "trainer.num_nodes=2", "cluster=full_node")
    assert (
        "makes it 4. Give cluster.gpus_per_node=2 or, without GPUs, cluster.tasks_per_node=2"
        in (found["trainer.devices=2"])
    )
    assert "cluster.nodes=2" in found["trainer.num_nodes=2"]
    assert list(said("trainer.devices=[0,1]")) == ["trainer.devices=[0,1]"]


def test_in_local_mode_the_trainer_says_it():
    composition = run("trainer.devices=2", "cluster=multi_node", "cluster.time=soon", mode="local")
    assert not composition.problems
    assert devices(composition.config) == (2, 1)
    found = said("trainer.num_nodes=2", mode="local")
    assert "--mode slurm cluster.nodes=2" in found["trainer.num_nodes=2"]


@pytest.mark.parametrize(
    ("words", "subject", "message"),
    [
        (("cluster.time=12h",), "cluster.time=12h", "not a time"),
        (("cluster.time=2:00",), "cluster.time=2:00", "too short"),
        (("cluster.time=10", "cluster.signal_delay=600"), "cluster.time=10", "cluster.signal_delay"),
        (("cluster.nodes=0",), "cluster.nodes=0", "at least 1"),
        (("cluster.tasks_per_node=0",), "cluster.tasks_per_node=0", "at least 1"),
        (("cluster.gpus_per_node=-1",), "cluster.gpus_per_node=-1", "at least 0"),
        (("cluster.nodes=two",), "cluster.nodes=two", "whole number"),
        (("cluster.options={mem: 3G}",), "cluster.options={mem: 3G}", "cluster.memory"),
        (("cluster.options.cpus_per_task=2",), "cluster.options.cpus_per_task=2", "cluster.cpus_per_task"),
        (("cluster.options.job-name=x",), "cluster.options.job-name=x", "cannot be given"),
        (("cluster.time=60", "trainer.max_time=00:02:00:00"), "trainer.max_time=00:02:00:00", "over restarts"),
        (("cluster.time=60", "trainer.max_time={hours: 2}"), "trainer.max_time={hours: 2}", "cluster.time=60"),
        (("cluster.cpus_per_task=2", "datamodule.n_workers=4"), "datamodule.n_workers=4", "cluster.cpus_per_task=2"),
        (("cluster=single_gpu", "trainer.accelerator=cpu"), "trainer.accelerator=cpu", "cluster.gpus_per_node=null"),
        (("cluster.gpus_per_node=1", "cluster.tasks_per_node=2"), "cluster.tasks_per_node=2", "1 GPUs"),
    ],
)
def test_contradictions_are_problems_of_what_was_typed(words, subject, message):
    found = said(*words)
    assert list(found) == [subject]
    assert message in found[subject]
    if "whole number" not in message:
        assert not run(*words, mode="local").problems


def test_what_fits_is_no_problem():
    words = ("cluster.time=12:00:00", "trainer.max_time=00:12:00:00", "cluster.cpus_per_task=4", "cluster.memory=64G")
    assert not said(*words, "datamodule.n_workers=4", "cluster.options={exclusive: true, gres: 'gpu:2'}")


def test_an_evaluation_gets_the_trainings_job_narrowed_to_one_process():
    composition = run("cluster=multi_node", "cluster.time=600", command="train-eval")
    assert not composition.problems
    section = composition.eval_config.cluster
    assert (section.nodes, section.tasks_per_node, section.gpus_per_node, section.time) == (1, 1, 1, 600)
    assert devices(composition.config) == (4, 2)
    assert devices(composition.eval_config) == (1, 1)


def test_words_after_the_token_shape_the_evaluations_job_alone():
    words = ("cluster=full_node", "::eval::", "cluster.time=60", "cluster.gpus_per_node=null", "cluster.memory=8G")
    composition = run(*words, command="train-eval")
    assert not composition.problems
    section = composition.eval_config.cluster
    assert (section.time, section.gpus_per_node, section.memory) == (60, None, "8G")
    assert OmegaConf.select(composition.config, "cluster.memory") is None
    assert devices(composition.config) == (4, 1)


@pytest.mark.parametrize("word", ["cluster.nodes=2", "cluster.tasks_per_node=2", "trainer.devices=2"])
def test_an_evaluation_of_several_processes_is_a_problem(word):
    found = said("cluster=full_node", "::eval::", word, command="train-eval")
    assert list(found) == [word]
    assert "one process" in found[word]


def test_an_evaluation_here_is_one_process_whatever_the_training_used():
    composition = run("trainer.devices=2", command="train-eval", mode="local")
    assert not composition.problems
    assert (devices(composition.config), devices(composition.eval_config)) == ((2, 1), (1, 1))


def test_a_shared_job_has_its_resources_before_the_token():
    words = ("::eval::", "cluster.time=60", "eval.n_members=2")
    found = said(*words, command="train-eval", single_allocation=True)
    assert list(found) == ["cluster.time=60"]
    assert "--single-allocation" in found["cluster.time=60"]


def test_all_that_is_wrong_is_told_together():
    words = ("trainer.devices=2", "cluster.time=2", "eval.n_members=many", "trainer.max_epocs=1")
    assert list(said(*words, dataset="nope")) == [*words, "--dataset nope"]


def test_what_jobs_ask_for_is_there_where_it_is_well_formed():
    sections = run("cluster=full_node", "eval.n_members=many", command="train-eval").clusters
    assert [section["gpus_per_node"] for section in sections] == [4, 1]
    assert len(run(command="train-eval", single_allocation=True).clusters) == 1
    for words in (("cluster.time=12h",), ("cluster.nodes=two",), ("seed=${nowhere}",)):
        assert run(*words).clusters == ()
    assert run("cluster=full_node", mode="local").clusters == ()
