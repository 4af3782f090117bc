"""Every form of Hydra's grammar, the friendly short forms, and what cannot be read."""

from pathlib import Path

import pytest

from autocast.runs.overrides import read_overrides, split_eval, write_override

GROUPS = ("encoder", "decoder", "processor", "backbone", "optimizer", "callbacks", "simulator/noise")


def one(word):
    overrides = read_overrides([word], GROUPS)
    assert not overrides.problems
    return overrides.typed[0]


def problem(word):
    overrides = read_overrides([word], GROUPS)
    assert not overrides.typed
    return overrides.problems[0]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("trainer.max_epochs=3", "trainer.max_epochs", 3),
        ("optimizer.learning_rate=1e-4", "optimizer.learning_rate", 1e-4),
        ("eval.metrics=[mse,rmse]", "eval.metrics", ["mse", "rmse"]),
        ('eval.metrics=["mse", "rmse"]', "eval.metrics", ["mse", "rmse"]),
        ("splits={train: 3, test: 1}", "splits", {"train": 3, "test": 1}),
        ("eval.video_dir='a, b'", "eval.video_dir", "a, b"),
        ("eval.checkpoint=null", "eval.checkpoint", None),
        ("datamodule.data_path=/a b/c-d_1.2", "datamodule.data_path", "/a b/c-d_1.2"),
        ("a=${oc.env:HOME}", "a", "${oc.env:HOME}"),
        ("model.processor.backbone.width=16", "model.processor.backbone.width", 16),
    ],
)
def test_values_of_every_kind_are_read(word, key, value):
    typed = one(word)
    assert (typed.key, typed.value, typed.is_choice) == (key, value, False)


def test_adding_forcing_and_deleting_are_told_apart():
    assert one("+a.b=1").adds
    assert one("++a.b=1").forces
    assert one("~a.b").deletes
    plain = one("a.b=1")
    assert not any((plain.adds, plain.forces, plain.deletes))


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("optimizer=adam", "optimizer=adam"),
        ("encoder@model.encoder=dc", "encoder@model.encoder=dc"),
        ("model.encoder=dc", "encoder@model.encoder=dc"),
        ("model.decoder=null", "~decoder@model.decoder"),
        ("model.processor=vit", "processor@model.processor=vit"),
        ("model.processor.backbone=vit", "backbone@model.processor.backbone=vit"),
        ("callbacks=[default,mine]", "callbacks=[default,mine]"),
        ("+optimizer=adam", "+optimizer=adam"),
        ("~optimizer", "~optimizer"),
        ("simulator/noise=white", "simulator/noise=white"),
    ],
)
def test_short_forms_become_choices_in_the_words_of_hydra(word, line):
    assert one(word).is_choice
    assert one(word).hydra_line == line


def test_a_value_inside_a_part_of_the_model_is_no_choice():
    assert not one("model.encoder={_target_: a.B}").is_choice
    assert not one("trainer.optimizer=x").is_choice


@pytest.mark.parametrize("word", ["a=1,2", "a=choice(1,2)", "a=range(1,4)"])
def test_a_sweep_says_that_sweeps_are_asked_for_explicitly(word):
    assert "explicitly" in problem(word).message


@pytest.mark.parametrize("word", ["foo", "a=[1", "--nope", "=3", "hydra.job.name=x", "hydra.run.dir="])
def test_what_cannot_be_read_is_a_problem_named_as_typed(word):
    assert problem(word).subject == word


def test_a_secret_is_refused_and_not_repeated():
    found = problem("logging.wandb.api_key=abcdef123")
    assert "abcdef123" not in found.subject + found.message
    assert one("model.n_tokens=abc").value == "abc"


def test_the_run_directory_of_hydra_is_the_workdir():
    overrides = read_overrides(["hydra.run.dir=outputs/my experiment/v1", "a=1"], GROUPS)
    assert overrides.workdir == Path("outputs/my experiment/v1")
    assert [o.key for o in overrides.typed] == ["a"]


def test_words_are_split_at_the_token_of_the_evaluation():
    assert split_eval(["a=1", "::eval::", "eval.batch_indices=[0,1]"]) == (("a=1",), ("eval.batch_indices=[0,1]",))
    assert split_eval(["a=1"]) == (("a=1",), ())


@pytest.mark.parametrize(
    "value",
    [
        *(1, -0.5, 1e-5, True, None, [], {}, [1, [2.5, None]], {"a": 1, "b": ["x y", "1"]}),
        *("plain", "25 %", "16-mixed", "/a b/c-d_1.2", "", "null", "true", "12", "1e-4", "a,b", "[a]", "it's", "a: b"),
        *("choice(1)", " a ", "C:\\new", "x'\\", "a=b", "é", "50%", ["a, b", "c]"]),
    ],
)
def test_a_value_that_is_written_is_read_again(value):
    typed = one(write_override("a.b", value))
    assert (typed.key, typed.value, type(typed.value)) == ("a.b", value, type(value))
