"""What the metrics of a training say is wrong with its autoencoder, and what there is to type."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from autocast.diagnosis import N_BEFORE, N_BEFORE_BLUR, Run, diagnose
from autocast.runs.again import diagnosed_run
from autocast.runs.compose import compose
from autocast.runs.directory import RunDirectory
from autocast.runs.identity import differences, is_under, write_json
from autocast.runs.request import Request

VAE = {"mse": {"_target_": "autocast.losses.terms.SquaredError"}, "kl": {"_target_": "autocast.losses.terms.KL"}}
FINE = {
    "val/objective": 2.0,
    "val/vrmse": 0.1,
    "val/high_frequency_ratio": 0.9,
    "val/active_units": 14.5,
    "val/loss/kl": 80.0,
    "val/used_share": 0.6,
    "val/used_codes": 300.0,
    "val/perplexity": 200.0,
    "train/discriminator/loss": 1.8,
    "train/discriminator/real": 0.3,
    "train/discriminator/fake": -0.2,
}
COLLAPSED = {"val/active_units": 0.0, "val/loss/kl": 0.02, "val/vrmse": 1.01}
DEAD = {"val/used_share": 0.03, "val/used_codes": 31.0, "val/perplexity": 9.0}
BLURRED = {"val/high_frequency_ratio": 0.2}
WON = {"train/discriminator/loss": 0.02, "train/discriminator/real": 1.4, "train/discriminator/fake": -1.6}
ADVERSARIAL = {"_target_": "autocast.losses.adversarial.Adversarial", "loss": "hinge", "learning_rate": 1e-4, "r1": 0}


def a_run(
    bottleneck: dict[str, Any] | None = None, terms: dict[str, Any] | None = None, kl: Any = 5.0, words: str = ""
) -> Run:
    objective = {"terms": VAE | (terms or {}), "weights": {"mse": 1.0, "kl": kl}}
    model = {"bottleneck": bottleneck or {"_target_": "x.GaussianBottleneck"}, "objective": objective}
    config = {"datamodule": {"data_path": "datasets/rd"}, "model": model}
    return Run(config, "outputs/rd/00", lambda: shlex.split(f"autocast ae --dataset rd {words}"))


def named(records: list[dict[str, Any]], run: Run | None = None) -> list[str]:
    return [finding.name for finding in diagnose(records, run or a_run())]


CASES = [
    ("posterior collapse", COLLAPSED, a_run(), N_BEFORE),
    ("dead codes", DEAD, a_run({"n_codes": 1024}), N_BEFORE),
    ("blur", BLURRED, a_run(), N_BEFORE_BLUR),
    ("discriminator dominance", WON, a_run(terms={"gan": ADVERSARIAL}), N_BEFORE),
]


@pytest.mark.parametrize(("name", "ailing", "run", "n"), CASES, ids=[case[0] for case in CASES])
def test_an_ailment_is_told_with_evidence_and_no_longer_once_it_has_healed(
    name: str, ailing: dict[str, float], run: Run, n: int
) -> None:
    ill, well = [{**FINE, **ailing}] * n, [FINE]
    assert named(ill, run) == [name]
    assert named(ill[1:], run) == []
    assert named(ill + well, run) == []
    assert named(well * n, run) == []
    assert named([*well, {"epoch": 2}, *ill], run) == [name]


def test_nothing_is_said_of_what_was_never_measured() -> None:
    config = {"datamodule": {"data_path": "rd"}, "model": {"processor": {}}}
    assert (
        diagnose([{"epoch": i, "val/vrmse": 1.0} for i in range(20)], Run(config, "r", lambda: ["autocast", "epd"]))
        == []
    )


def test_an_unknown_number_is_no_evidence() -> None:
    assert named([{**FINE, **COLLAPSED, "val/vrmse": None}] * 9) == []


def test_idle_latents_that_cost_and_a_good_reconstruction_are_no_collapse() -> None:
    assert named([{**FINE, "val/active_units": 0.0}] * 9) == []
    assert named([{**FINE, "val/active_units": 0.0, "val/loss/kl": 0.1}] * 9) == ["posterior collapse"]


def test_latents_that_have_learnt_nothing_yet_are_no_collapse() -> None:
    untrained = {**FINE, "val/active_units": 0.0, "val/vrmse": 1.02}
    falling = [{**untrained, "val/loss/kl": kl} for kl in (190.0, 180.0, 164.0, 141.0, 119.0, 104.0)]
    assert named(falling) == []
    fallen = [{**untrained, "val/loss/kl": kl} for kl in (8.0, 6.0, 4.0)]
    assert named(falling + fallen) == ["posterior collapse"]


def test_a_kl_that_a_warm_up_has_brought_down_is_no_collapse() -> None:
    warmed = [{**FINE, "val/active_units": 0.0, "val/vrmse": 0.05, "val/loss/kl": kl} for kl in (3000.0, *[100.0] * 6)]
    assert named(warmed) == []
    assert named([{**record, "val/vrmse": 0.95} for record in warmed]) == ["posterior collapse"]


def test_where_the_kl_is_kept_from_zero_the_error_tells() -> None:
    run = a_run(terms={"kl": {**VAE["kl"], "free_bits": 0.05}})
    idle = {**FINE, "val/active_units": 0.0}
    assert named([{**idle, "val/vrmse": 0.3, "val/loss/kl": 0.0}] * 5, run) == []
    assert named([{**idle, "val/vrmse": 0.95}] * 5, run) == ["posterior collapse"]


def test_what_still_sharpens_or_hardly_errs_is_not_called_blurred() -> None:
    rising = [{**FINE, "val/high_frequency_ratio": 0.02 * i} for i in range(1, 13)]
    assert named(rising) == []
    assert named([{**FINE, **BLURRED, "val/vrmse": 0.04}] * 12) == []
    assert named([{**FINE, **BLURRED, **COLLAPSED}] * 12) == ["posterior collapse"]


def test_the_figures_are_those_of_the_last_epoch() -> None:
    (finding,) = diagnose([{**FINE, **COLLAPSED}] * 5 + [{**FINE, **COLLAPSED, "val/vrmse": 0.93}], a_run())
    assert "0 channels of the latents are active; the KL is 0.02 nats a frame, and the VRMSE 0.93" in finding.text
    assert "Less weight of kl (now 5)" in finding.text


@pytest.mark.parametrize(
    ("weight", "override"),
    [
        (5.0, "model.objective.weights.kl=0.5"),
        ({"_target_": "Linear", "weight": 5, "warmup": "10 %"}, "model.objective.weights.kl.weight=0.5"),
        ({"_target_": "Delayed", "then": {"weight": 5.0}, "delay": 3}, "model.objective.weights.kl.then.weight=0.5"),
        ({"_target_": "Piecewise", "points": [[0, 0], [9, 5]]}, "'model.objective.weights.kl.points=[[0,0],[9,0.5]]'"),
    ],
)
def test_the_remedy_of_a_collapse_takes_a_tenth_of_any_weight(weight: Any, override: str) -> None:
    (finding,) = diagnose([{**FINE, **COLLAPSED}] * 5, a_run(kl=weight))
    assert "(now 5)" in finding.text
    assert finding.commands == (
        "autocast ae --dataset datasets/rd --preset resume_fix --init-from outputs/rd/00",
        f"autocast ae --dataset rd {override}",
    )


@pytest.mark.parametrize(
    ("bottleneck", "words", "commands"),
    [
        (
            {"n_codes": 1024, "commitment": 0.25},
            "bottleneck=vq objective=vq",
            [
                "objective=vq bottleneck=vq_ema",
                "bottleneck=vq objective=vq model.bottleneck.n_codes=128",
            ],
        ),
        (
            {"n_codes": 1024, "revive_below": 0.1},
            "",
            ["model.bottleneck.revive_below=1", "model.bottleneck.n_codes=128"],
        ),
        ({"levels": [8, 5, 5, 5]}, "", ["'model.bottleneck.levels=[8,5,5]'"]),
        ({"levels": [1000]}, "", ["'model.bottleneck.levels=[500]'"]),
    ],
)
def test_the_remedies_of_dead_codes_follow_the_bottleneck(
    bottleneck: dict[str, Any], words: str, commands: list[str]
) -> None:
    (finding,) = diagnose([{**FINE, **DEAD}] * 5, a_run(bottleneck, words=words))
    assert list(finding.commands) == [f"autocast ae --dataset rd {command}" for command in commands]


def test_a_discriminator_is_judged_by_what_its_game_gives_one_that_cannot_tell() -> None:
    (finding,) = diagnose([{**FINE, **WON}] * 5, a_run(terms={"gan": ADVERSARIAL}))
    assert "its loss is 0.02, where one that cannot tell has 2" in finding.text
    assert finding.commands[0].endswith("--init-from outputs/rd/00 model.objective.terms.gan.learning_rate=2.5e-05")
    squares = a_run(terms={"gan": {**ADVERSARIAL, "loss": "lsgan"}})
    assert named([{**FINE, **WON}] * 5, squares) == []
    assert named([{**FINE, **WON, "train/discriminator/loss": 0.01}] * 5, squares) == ["discriminator dominance"]
    assert named([{**FINE, **WON}] * 5) == []


def test_weights_are_taken_from_one_run_only() -> None:
    run = a_run(terms={"gan": ADVERSARIAL}, words="--init-from outputs/old a.b=1 init.fresh=[x]")
    (finding,) = diagnose([{**FINE, **WON}] * 5, run)
    assert finding.commands[0].startswith("autocast ae --dataset rd a.b=1 --init-from outputs/rd/00 model.")


def test_where_a_like_run_cannot_be_told_there_is_why() -> None:
    config = a_run({"levels": [8, 5]}).config
    (finding,) = diagnose([{**FINE, **DEAD}] * 5, Run(config, "outputs/rd/00", lambda: None))
    assert finding.commands == ("autocast why outputs/rd/00",)


@pytest.mark.parametrize(
    ("words", "ailing"),
    [
        ("bottleneck=gaussian objective=vae_adversarial model.objective.terms.adversarial.r1=1", WON),
        ("bottleneck=fsq model.bottleneck.levels=[64]", DEAD),
        ("bottleneck=gaussian objective=vae", COLLAPSED),
        ("bottleneck=vq objective=vq", DEAD),
        ("bottleneck=vq_ema objective=vq", DEAD),
        ("bottleneck=fsq", DEAD),
        ("", BLURRED),
        ("bottleneck=gaussian objective=vae_adversarial", WON),
    ],
)
def test_what_is_offered_can_be_typed(words: str, ailing: dict[str, float], tmp_path: Path) -> None:
    composed = compose(Request("ae", tuple(words.split()), dataset="reaction_diffusion"))
    config: Any = OmegaConf.to_container(composed.config)
    run = RunDirectory(tmp_path)
    write_json(run.run_file("ae", "train"), {"argv": ["autocast", "demo"], "mode": "local", "init_from": None})
    told = diagnosed_run(run, "ae", config)
    found = diagnose([{**FINE, **ailing}] * 10, told)
    assert len(found) == 1
    for line in found[0].commands:
        typed = shlex.split(line)[4:]
        flags = {word[2:].replace("-", "_"): typed[i + 1] for i, word in enumerate(typed) if word.startswith("--")}
        overrides = tuple(word for word in typed if "=" in word)
        assert len(typed) == len(overrides) + 2 * len(flags)
        again = compose(Request("ae", overrides, dataset="reaction_diffusion", **flags))
        assert [p for p in again.problems if not p.subject.startswith(("--dataset", "--init-from"))] == []
        if "resume_fix" not in line:
            changed = differences(config, OmegaConf.to_container(again.config))  # type: ignore[arg-type]
            asked = [word.lstrip("+").partition("=")[0] for word in overrides if word not in told.words()]
            asked = ["model.bottleneck" if key == "bottleneck" else key for key in asked]
            assert changed
            assert all(is_under(key, asked) for key in changed)
