"""`.env`, secrets, and the packages that may be constructed from."""

import os

import pytest

from autocast.runs.environment import (
    added_targets,
    allow_recorded_targets,
    datasets_dir,
    is_allowed_target,
    is_secret_key,
    is_secret_variable,
    own_config_dirs,
    read_environment,
    recorded_targets_allowed,
    redact,
)


def test_the_environment_wins_over_dotenv(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("AUTOCAST_DATASETS=/from/file\nAUTOCAST_OUTPUTS=/from/file\n")
    monkeypatch.setenv("AUTOCAST_DATASETS", "/from/environment")
    monkeypatch.setenv("AUTOCAST_OUTPUTS", "will be removed")
    monkeypatch.delenv("AUTOCAST_OUTPUTS")
    read_environment(tmp_path)
    assert os.environ["AUTOCAST_OUTPUTS"] == "/from/file"
    assert str(datasets_dir()) == "/from/environment"
    monkeypatch.delenv("AUTOCAST_OUTPUTS")


def test_a_directory_without_dotenv_is_fine(tmp_path):
    read_environment(tmp_path)


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "db_password"])
def test_secret_names_are_known(name):
    assert is_secret_variable(name)
    assert is_secret_key(f"logging.{name.lower()}")


ORDINARY = ["model.n_tokens", "eval.keys", "trainer.monkey_patch", "monkey", "keyboard", "key_dim", "tokens"]


@pytest.mark.parametrize("key", ORDINARY)
def test_ordinary_keys_are_no_secrets(key):
    assert not is_secret_key(key)
    for text in (f"{key}=5", f"{key}: 5", f"sorted({key}, key=len)"):
        assert redact(text, {}) == text


@pytest.mark.parametrize(
    "text",
    [
        "+logging.wandb.settings={api_key: zzz}",
        "logging.wandb.api_key=zzz",
        "--api-key=zzz",
        '{"api_key": "zzz", "n": 1}',
        "api_key: 'z zzz z'",
        "Traceback: HF_TOKEN = zzz",
        "logging.key=zzz",
        "model.password@here=1 password=zzz",
    ],
)
def test_what_is_assigned_to_a_secret_name_is_blanked(text):
    assert "zzz" not in redact(text, {})
    assert redact(redact(text, {}), {}) == redact(text, {})


def test_secrets_are_blanked_in_any_text():
    environ = {"WANDB_API_KEY": "0123456789abcdef", "HOME": "/home/me", "SHORT_TOKEN": "1"}
    text = "run with 0123456789abcdef in /home/me and API_TOKEN=xyz epochs=1"
    assert redact(text, environ) == "run with *** in /home/me and API_TOKEN=*** epochs=1"


def test_only_known_packages_and_added_ones_may_be_constructed_from(monkeypatch):
    monkeypatch.delenv("AUTOCAST_TARGETS", raising=False)
    assert is_allowed_target("autocast.processors.direct.Direct")
    assert is_allowed_target("torch.optim.AdamW")
    assert not is_allowed_target("autocastle.X")
    assert not is_allowed_target("os.system")
    assert not is_allowed_target("mine.X")
    monkeypatch.setenv("AUTOCAST_TARGETS", "mine,theirs.models")
    assert added_targets() == ("mine", "theirs.models")
    assert is_allowed_target("mine.X")
    assert is_allowed_target("theirs.models.Y")
    assert not is_allowed_target("theirs.other.Y")


def test_what_a_run_was_started_with_holds_again_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.setenv("AUTOCAST_TARGETS", "mine")
    allow_recorded_targets("theirs")
    assert added_targets() == ("mine",)
    monkeypatch.delenv("AUTOCAST_TARGETS")
    allow_recorded_targets("")
    assert "AUTOCAST_TARGETS" not in os.environ
    allow_recorded_targets("theirs")
    assert added_targets() == ("theirs",)


def test_the_targets_of_several_runs_do_not_mix(monkeypatch):
    monkeypatch.delenv("AUTOCAST_TARGETS", raising=False)
    for recorded in ("one", "other", ""):
        with recorded_targets_allowed(recorded):
            assert added_targets() == ((recorded,) if recorded else ())
    assert "AUTOCAST_TARGETS" not in os.environ
    monkeypatch.setenv("AUTOCAST_TARGETS", "mine")
    with recorded_targets_allowed("theirs"):
        assert added_targets() == ("mine",)
    assert added_targets() == ("mine",)


def test_own_config_directories_are_the_flag_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_CONFIG_PATH", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    assert own_config_dirs(tmp_path / "c") == [tmp_path / "c", tmp_path / "a", tmp_path / "b"]
