"""Which cluster profile a command uses, and what is filled in where it says nothing."""

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs.compose import compose
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Two profiles of the user's own: `site` extends `base_site`."""
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    (tmp_path / "own" / "cluster").mkdir(parents=True)
    profile("base_site", tmp_path, "partition: gpu\ntime: 12:00:00\nsetup: [module load cuda]\n")
    profile("site", tmp_path, "defaults: [base_site, _self_]\ngpus_per_node: 1\n")
    profile("other", tmp_path, "partition: other\naccount: theirs\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_CONFIG_PATH", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def profile(name, folder, text):
    (folder / "own" / "cluster" / f"{name}.yaml").write_text(text)


def user_file(folder, text):
    (folder / "config" / "autocast").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "autocast" / "config.yaml").write_text(text)


def run(*words, command="epd", mode="slurm", **flags):
    return compose(Request(command, overrides=words, mode=mode, **flags))


def section(*words, **flags):
    composition = run(*words, **flags)
    assert not composition.problems
    return OmegaConf.to_container(composition.config.cluster)


def said(composition):
    return {problem.subject: problem.message for problem in composition.problems}


def test_the_flag_then_the_override_then_the_environment_then_the_users_file(workplace, monkeypatch):
    assert section()["partition"] is None
    user_file(workplace, "cluster: site\n")
    assert section()["partition"] == "gpu"
    monkeypatch.setenv("AUTOCAST_CLUSTER", "other")
    assert section()["partition"] == "other"
    assert section("cluster=site")["partition"] == "gpu"
    assert section("cluster=generic")["partition"] is None
    assert section(cluster="site")["partition"] == "gpu"


def test_two_different_words_for_it_are_a_problem():
    found = said(run("cluster=other", cluster="site"))
    assert list(found) == ["cluster=other"]
    assert "--cluster site" in found["cluster=other"]


def test_a_profile_has_all_keys_whatever_its_file_leaves_out():
    assert section(cluster="other")["max_attempts"] == 20
    assert section(cluster="other").keys() == section().keys()
    assert section("cluster=null") == section("~cluster") == section("~cluster.options") == section()


def test_overrides_win_over_the_profile():
    found = section("cluster.partition=debug", "cluster.gpus_per_node=null", cluster="site")
    assert (found["partition"], found["gpus_per_node"], found["setup"]) == ("debug", None, ["module load cuda"])


def test_other_options_of_sbatch_need_no_plus():
    assert section("cluster.options.mail-type=END")["options"] == {"mail-type": "END"}


def test_the_users_account_fills_what_nobody_gave(workplace):
    user_file(workplace, "account: mine\n")
    assert section()["account"] == "mine"
    assert section(cluster="other")["account"] == "theirs"
    assert section("cluster.account=typed")["account"] == "typed"
    assert section("cluster.account=null")["account"] is None


@pytest.mark.parametrize("mode", ["local", "slurm"])
def test_a_profile_that_is_asked_for_and_not_there_is_a_problem(mode):
    assert "There are:" in said(run(cluster="sote", mode=mode))["--cluster sote"]
    assert "There are:" in said(run("cluster=sote", mode=mode))["cluster=sote"]


def test_a_default_that_is_not_there_names_its_source(workplace, monkeypatch):
    user_file(workplace, "cluster: nowhere\n")
    assert list(said(run())) == [f"{workplace}/config/autocast/config.yaml: cluster: nowhere"]
    monkeypatch.setenv("AUTOCAST_CLUSTER", "sote")
    assert "Did you mean site?" in said(run())["AUTOCAST_CLUSTER=sote"]
    local = run(mode="local")
    assert not local.problems
    assert "AUTOCAST_CLUSTER=sote" in local.notes[0]


def test_a_mistake_in_a_profile_is_found(workplace):
    profile("typo", workplace, "partitoin: gpu\nnodes: many\n")
    found = said(run(cluster="typo"))
    assert "Did you mean cluster.partition?" in found["cluster.partitoin"]
    assert "whole number" in found["cluster.nodes"]


@pytest.mark.parametrize(
    ("written", "read"),
    [("12:00:00", "12:00:00"), ("'12:00:00'", "12:00:00"), ("5:30", "5:30"), ("00:30:00", "00:30:00"), ("90", 90)],
)
def test_a_time_is_what_the_profile_says_quoted_or_not(workplace, written, read):
    profile("timed", workplace, f"time: {written}\n")
    assert section(cluster="timed")["time"] == read


def test_a_time_of_an_extended_profile_or_a_preset_is_what_it_says(workplace):
    assert section(cluster="site")["time"] == "12:00:00"
    (workplace / "own" / "preset").mkdir()
    (workplace / "own" / "preset" / "long.yaml").write_text("# @package _global_\ncluster: {time: 48:00:00}\n")
    assert section(preset="long")["time"] == "48:00:00"
    assert section("cluster.time=90", preset="long")["time"] == 90


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("cluster.time=12:00:00", "12:00:00"),
        ("cluster.time=1-12:00:00", "1-12:00:00"),
        ("cluster.time=90", 90),
        ("cluster.memory=64G", "64G"),
    ],
)
def test_what_is_typed_stays_what_it_is_also_in_a_frozen_config(word, value):
    found = section(word)
    key = word.partition("=")[0].rpartition(".")[2]
    assert found[key] == value
    assert yaml.safe_load(yaml.safe_dump(found)) == found


def test_a_profile_after_the_token_is_for_the_evaluation_alone(workplace):
    user_file(workplace, "account: mine\n")
    words = ("cluster=other", "::eval::", "cluster=site", "cluster.time=60")
    composition = run(*words, command="train-eval")
    assert not composition.problems
    training, evaluation = composition.config.cluster, composition.eval_config.cluster
    assert (training.partition, training.account, training.time) == ("other", "theirs", None)
    assert (evaluation.partition, evaluation.account, evaluation.time) == ("gpu", "mine", 60)


def test_making_data_has_no_cluster(monkeypatch):
    monkeypatch.setenv("AUTOCAST_CLUSTER", "nowhere")
    assert not run(command="simulate", mode="local").problems
