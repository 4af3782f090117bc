"""Every file of `configs/` composes and checks, in few compositions that cover them all."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from autocast.evaluation.settings import EvaluationSettings
from autocast.runs.compose import AUTOENCODER, EPD, PROCESSOR, compose, compose_defaults
from autocast.runs.request import Request
from autocast.runs.rescue import WITHOUT
from autocast.runs.signatures import Signatures
from autocast.runs.slurm.submit import Submission, script
from autocast.runs.tree import config_tree, own_configs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PLACES = {
    "model": None,
    "encoder": "encoder@model.encoder",
    "bottleneck": "bottleneck@model.bottleneck",
    "decoder": "decoder@model.decoder",
    "processor": "processor@model.processor",
}
"""Where the options of a group go, if not at the top level; the model of an emulator is chosen by its command."""
INSIDE = ("backbone", "sampler", "schedule", "parametrisation", "time_prior")
"""Groups of what is inside a processor; a diffusion has all of them."""
OVERLAYS = ("preset", "experiment", "debug")
RECIPE = re.compile(r".*_(debug|half_hour|paper|direct|ensemble|flow_matching|diffusion|autoencoder)$")
"""Presets and experiments that `test_recipes` composes, apart from the demo's."""
COMMAND_OF_ROOT = {
    "autoencoder": "ae",
    "encoder_processor_decoder": "epd",
    "processor": "processor",
    "cache_latents": "cache-latents",
    "simulate": "simulate",
}
NEEDS_A_RUN = f"--init-from: {WITHOUT}"
NEED_AN_AUTOENCODER = ("processor", "cache-latents")


def options(group, root=None):
    """Of a root config, or of any."""
    return config_tree([]).shown(group, root)


GROUPS = [folder.name for folder in sorted(CONFIGS.iterdir()) if folder.is_dir() and options(folder.name)]
SWEPT = [
    group
    for group in GROUPS
    if group not in ("model", "simulator", "cluster", "objective", "discriminator", *INSIDE, *OVERLAYS)
]
N_COVERING = max(len(options(group, EPD)) for group in SWEPT)
OF_AUTOENCODERS = ("objective", "model", "training")


def with_data(*words):
    return (*words, f"datamodule.data_path={CONFIGS}")


def problems(command, *words, **flags):
    return [f"{p.subject}: {p.message}" for p in compose(Request(command, overrides=words, **flags)).problems]


def nth(n, groups, root):
    return {group: options(group, root)[n % len(options(group, root))] for group in groups}


@pytest.mark.parametrize("n", range(max(len(options(group, AUTOENCODER)) for group in OF_AUTOENCODERS)))
def test_the_nth_options_of_all_groups_of_autoencoders_compose_together(n):
    words = (f"{group}={option}" for group, option in nth(n, OF_AUTOENCODERS, AUTOENCODER).items())
    assert not problems("ae", *with_data(*words))


@pytest.mark.parametrize(
    ("command", "word", "there"),
    [
        ("ae", "training=unrolled", "standard_training"),
        ("epd", "training=quick_test", "default, unrolled"),
        ("epd", "model=small", "encoder_processor_decoder"),
        ("processor", "preset=quick_test", "crps"),
    ],
)
def test_an_option_for_another_command_is_refused_with_those_that_fit(command, word, there):
    found = next(problem for problem in problems(command, *with_data(word)) if problem.startswith(f"{word}: is for "))
    assert there in found


@pytest.mark.parametrize("n", range(N_COVERING))
def test_the_nth_options_of_all_groups_compose_together(n):
    chosen = nth(n, SWEPT, EPD)
    assert not problems("epd", *with_data(*(f"{PLACES.get(g, g)}={option}" for g, option in chosen.items())))


@pytest.mark.parametrize("n", range(max(len(options(group)) for group in INSIDE)))
def test_the_nth_options_of_all_groups_inside_a_processor_compose_together(n):
    chosen = [f"model.processor.{group}={options(group)[n % len(options(group))]}" for group in INSIDE]
    assert not problems("epd", *with_data("model.processor=diffusion", *chosen))


def test_a_processor_within_a_processor_is_chosen_by_place():
    chosen = ("processor@model.processor.correction=diffusion", "schedule@model.processor.correction.schedule=cosine")
    composition = compose(Request("epd", overrides=with_data("model.processor=residual", *chosen)))
    assert not composition.problems
    correction = composition.config.model.processor.correction
    assert (correction.increment, correction.schedule._target_) == (False, "autocast.generative.schedules.Cosine")


@pytest.mark.parametrize("command", ["ae", "epd", "train-eval"])
def test_defaults_compose(command):
    assert not problems(command, *with_data())


@pytest.mark.parametrize("command", NEED_AN_AUTOENCODER)
def test_defaults_compose_but_for_the_autoencoder(command):
    (problem,) = problems(command, *with_data())
    assert problem.startswith("--autoencoder: ")


def test_a_processor_has_the_config_of_an_emulator():
    """And a cache that it is trained on."""
    assert set(compose_defaults(PROCESSOR)) == {*compose_defaults(EPD), "latents"}
    differing = {key for key in compose_defaults(EPD) if compose_defaults(EPD)[key] != compose_defaults(PROCESSOR)[key]}
    assert not differing
    word = "model.processor=ensemble"
    assert problems("processor", *with_data(word, "preset=crps", "backbone@model.processor.backbone=vit")) == problems(
        "processor", *with_data()
    )


@pytest.mark.parametrize("option", options("simulator"))
def test_simulators_compose(option):
    assert not problems("simulate", f"simulator={option}")


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g in OVERLAYS for o in options(g) if o.startswith("demo") or not RECIPE.match(o)],
)
def test_presets_and_experiments_fit_some_command(group, option):
    word = f"{group}={option}"
    tried = {"epd": with_data(word), "ae": with_data(word), "simulate": (word,)}
    fits = options(group, AUTOENCODER) if group == "preset" else []
    commands = ["ae"] if option in fits and option not in options(group, EPD) else tried
    found = [problems(command, *tried[command]) for command in commands]
    assert any(not told or told == [NEEDS_A_RUN] for told in found)


@pytest.mark.parametrize("option", options("cluster"))
def test_cluster_profiles_compose_for_every_command_that_runs_jobs(option):
    for command in ("ae", "train-eval"):
        assert not problems(command, *with_data(f"cluster={option}"), mode="slurm")
    assert len(problems("cache-latents", *with_data(f"cluster={option}"), mode="slurm")) == 1  # no autoencoder


@pytest.mark.parametrize("option", options("cluster"))
def test_cluster_profiles_render(option, tmp_path):
    composition = compose(Request("epd", overrides=with_data(f"cluster={option}"), mode="slurm"))
    (section,) = composition.clusters
    text = script(Submission(("train_epd", str(tmp_path), "train"), "name", section, tmp_path, tmp_path, "comment"))
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.MULTILINE))
    tasks = composition.config.trainer.devices
    assert (asked["nodes"], asked["ntasks-per-node"]) == (str(section["nodes"]), str(tasks))
    assert not {"partition", "account", "qos", "time", "mem"} & set(asked)
    assert "None" not in text


def test_nothing_in_the_folder_is_left_out():
    assert {file.stem for file in CONFIGS.glob("*.yaml")} == set(COMMAND_OF_ROOT)
    assert options("model", EPD) == ["encoder_processor_decoder"]
    assert all(file.suffix == ".yaml" for file in CONFIGS.rglob("*") if file.is_file())


def test_the_repository_uses_its_own_folder():
    assert own_configs() == CONFIGS


@cache
def signature(target):
    return Signatures().read(target).parameters


def test_the_evaluation_section_is_what_an_evaluation_takes():
    """The keys that a config may have, those that the defaults list, and those that the settings take are the same."""
    extra = {"checkpoint", "video_dir"}
    taken = signature("autocast.evaluation.settings.EvaluationSettings")
    assert set(signature("autocast.runs.spine.Eval")) == set(taken) | extra
    defaults = compose_defaults(EPD).eval
    assert set(defaults) == set(taken) | extra
    plain = {name: p.default.value for name, p in taken.items() if isinstance(p.default, ast.Constant)}
    assert {name: defaults[name] for name in plain} == plain


def test_the_default_evaluation_is_that_of_the_settings():
    section = OmegaConf.to_container(compose_defaults(EPD).eval)
    given = {key: value for key, value in section.items() if key not in ("checkpoint", "video_dir")}
    assert EvaluationSettings.from_config(given) == EvaluationSettings()
