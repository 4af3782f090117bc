"""A training like the one of a run, told from its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from autocast.runs.again import diagnosed_run
from autocast.runs.compose import compose
from autocast.runs.directory import RunDirectory
from autocast.runs.identity import differences, write_json
from autocast.runs.request import SLURM, Request
from autocast.runs.retype import retype

DATA = "datasets/reaction_diffusion"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / DATA).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


def composed(*words: str, **flags: Any) -> dict[str, Any]:
    found = compose(Request("ae", words, **{"dataset": DATA, **flags}))
    assert found.problems == []
    config: Any = OmegaConf.to_container(found.config)
    return config


def words_of(config: dict[str, Any], run: Path, **record: Any) -> list[str] | None:
    directory = RunDirectory(run)
    write_json(directory.run_file("ae", "train"), {"argv": ["x"], "mode": "local", "init_from": None, **record})
    words = diagnosed_run(directory, "ae", config).words()
    return None if words is None else list(words)


ONE_MORE_TERM = (
    "+model.objective.terms.s._target_=autocast.losses.terms.AbsoluteError",
    "+model.objective.weights.s=1e-05",
)


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ([], []),
        (
            ["bottleneck=gaussian", "objective=vae_adversarial", "model.objective.terms.adversarial.r1=1"],
            None,
        ),
        (
            ["model=small", "kl_warmup=25 %", "optimizer=soap", "optimizer.lr_scheduler=null"],
            [
                *("encoder=vector", "bottleneck=gaussian", "objective=vae", "optimizer=soap"),
                *("kl_warmup=25 %", "optimizer.lr_scheduler=null"),
            ],
        ),
        (["datamodule.size=[16,12]", "datamodule.column='a, b'", "datamodule.subset=0.5"], None),
        (["callbacks=early_stopping", "~callbacks.ema"], None),
        (["seed=7", *ONE_MORE_TERM], None),
        (["hydra.run.dir=out/x", "trainer.max_epochs=3"], ["trainer.max_epochs=3"]),
    ],
)
def test_a_config_is_told_by_what_it_has_otherwise(words: list[str], typed: list[str] | None) -> None:
    assert retype(composed(*words), "ae", "local") == (words if typed is None else typed)


@pytest.mark.parametrize("preset", ["vae", "quick_test", "full_retrain", "demo_autoencoder"])
def test_a_preset_is_told_by_what_it_sets(preset: str) -> None:
    config = composed(preset=preset)
    words = retype(config, "ae", "local")
    assert differences(config, composed(*words)) == {}
    assert len(words) < 15


def test_resources_of_a_job_are_typed_only_for_a_job() -> None:
    words = ("cluster.time=10", "cluster.gpus_per_node=2", "trainer.max_epochs=3")
    config = composed(*words, mode=SLURM)
    assert set(retype(config, "ae", SLURM)) == set(words)
    assert "cluster.time=10" not in retype(config, "ae", "local")


def test_how_a_run_was_started_does_not_matter(workplace: Path) -> None:
    config = composed("trainer.max_epochs=3")
    plain = ["autocast", "ae", "--dataset", DATA, "trainer.max_epochs=3"]
    for argv in (
        ["autocast", "ae", "--resume-from", "outputs/old", "--workdir", "outputs/new"],
        ["train_autoencoder", "datamodule=reaction_diffusion", "trainer.max_epochs=3", "hydra.run.dir=out/x"],
        ["autocast", "demo"],
    ):
        assert words_of(config, workplace, argv=argv) == plain
    started = words_of(config, workplace, argv=["autocast", "ae", "--init-from=old"], init_from="/o/autoencoder.ckpt")
    assert started == [*plain[:4], "--init-from", "/o/autoencoder.ckpt", *plain[4:]]
    assert words_of(config, workplace, mode=SLURM)[4:6] == ["--mode", "slurm"]  # type: ignore[index]


def test_what_was_rescued_once_is_not_rescued_again(workplace: Path) -> None:
    config = composed("bottleneck=gaussian", "objective=resume_fix", "trainer.max_epochs=3")
    config["rescue"] = {"kl_factor": 0.1, "kl_at_most": 1.0}
    assert not [word for word in words_of(config, workplace) or [] if "rescue" in word.partition("=")[0]]


def test_settings_that_cannot_be_read_end_no_training(workplace: Path) -> None:
    config = composed()
    file = workplace / "home" / "autocast" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("clutser: x\n")
    assert words_of(config, workplace) is None
