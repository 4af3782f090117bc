"""The user's own file: what it may hold, and where it lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autocast.errors import ConfigError
from autocast.runs.directory import default_output_base
from autocast.runs.environment import datasets_dir, read_environment
from autocast.runs.user_settings import UserSettings, settings_file, user_settings


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("AUTOCAST_DATASETS", "AUTOCAST_OUTPUTS"):
        monkeypatch.setenv(name, "")  # restored, whatever the file adds

    def write(text):
        file = tmp_path / "config" / "autocast" / "config.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        return file

    return write


def test_a_user_without_a_file_has_no_settings(write):
    assert user_settings() == UserSettings()


def test_an_empty_file_says_nothing(write):
    write("# cluster: site\n")
    assert user_settings() == UserSettings()


def test_what_the_file_says(write):
    write("cluster: site\naccount: my-project\ndatasets: ~/data\noutputs: null\n")
    assert user_settings() == UserSettings("site", "my-project", "~/data", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acount: x\n", "acount: no such key. There are: cluster, account, datasets, outputs. Did you mean account?"),
        ("account: 123\n", "account: 123: a text is wanted"),
        ("outputs: [a]\n", "outputs: .'a'.: a text is wanted"),
        ("- a\n", "keys and values are wanted"),
        ("a: [1\n", "cannot be read"),
        ("account: 1\nwhere: x\n", "account: 1: .*; where: no such key"),
    ],
)
def test_a_mistake_names_the_file(write, text, said):
    file = write(text)
    with pytest.raises(ConfigError, match=said) as caught:
        user_settings()
    assert str(caught.value).startswith(str(file))


def test_the_file_lies_in_the_home_directory_unless_said_otherwise(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert settings_file() == Path("/home/me/.config/autocast/config.yaml")
    monkeypatch.delenv("HOME")
    assert settings_file() is None


def test_its_roots_hold_where_the_environment_says_nothing(write, tmp_path, monkeypatch):
    write("datasets: ~/data\noutputs: /from/file\n")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("AUTOCAST_OUTPUTS", "/from/environment")
    read_environment(tmp_path)
    assert datasets_dir() == Path("/home/me/data")
    assert os.environ["AUTOCAST_DATASETS"] == "/home/me/data"  # configs refer to it
    assert default_output_base() == Path("/from/environment")


def test_dotenv_wins_over_it(write, tmp_path, monkeypatch):
    write("datasets: /from/file\n")
    monkeypatch.delenv("AUTOCAST_DATASETS")
    (tmp_path / ".env").write_text("AUTOCAST_DATASETS=/from/dotenv\n")
    read_environment(tmp_path)
    assert datasets_dir() == Path("/from/dotenv")


def test_a_user_without_a_file_pays_nothing(tmp_path):
    read = "from autocast.runs.environment import read_environment; read_environment()"
    code = f"import sys; {read}; print('yaml' in sys.modules)"
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
