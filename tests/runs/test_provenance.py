"""What a run remembers of its code, without secrets and without files that git ignores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autocast.runs.provenance import command_line, git_state, package_versions, provenance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True, timeout=60
        )

    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text(".env\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_repository_has_a_commit_and_no_patch(repository: Path):
    state = git_state(repository)
    assert state is not None
    assert len(state["sha"]) == 40
    assert not state["dirty"]


def test_the_patch_has_changed_and_new_files_but_no_ignored_ones(repository: Path):
    (repository / "code.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 3\n")
    (repository / ".env").write_text("WANDB_API_KEY=0123456789abcdef\n")
    index = (repository / ".git" / "index").read_bytes()
    state = git_state(repository)
    assert state is not None
    assert "+a = 2" in state["patch"]
    assert "+b = 3" in state["patch"]
    assert ".env" not in state["patch"]
    assert (repository / ".git" / "index").read_bytes() == index


def test_secrets_are_dropped_from_the_patch(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "value-of-the-variable")
    (repository / "code.py").write_text(
        'use("value-of-the-variable")\napi_key = "0123456789"\nb = sorted(c, key=len)\n'
    )
    state = git_state(repository)
    assert state is not None
    assert "value-of-the-variable" not in state["patch"]
    assert "0123456789" not in state["patch"]
    assert "sorted(c, key=len)" in state["patch"]


def test_the_patch_is_git_s_own_whatever_shows_differences(repository: Path):
    (repository / "code.py").write_text("a = 2\n")
    for setting in (("diff.external", "true"), ("color.ui", "always")):
        subprocess.run(["git", "config", *setting], cwd=repository, check=True, timeout=60)
    state = git_state(repository)
    assert state is not None
    assert "\n+a = 2\n" in state["patch"]


def test_outside_of_a_repository_there_is_no_state(tmp_path: Path):
    assert git_state(tmp_path) is None


def test_argv_is_remembered_without_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/x/__main__.py", "epd", "logging.api_key=abcdef", "seed=3"])
    words = command_line()
    assert words[:2] == ["autocast", "epd"]
    assert words[3] == "seed=3"
    assert "abcdef" not in words[2]


def test_versions_are_known_without_importing(monkeypatch: pytest.MonkeyPatch):
    versions = package_versions()
    assert versions["torch"].startswith("2.")
    assert set(provenance()) >= {"argv", "code", "packages", "device", "created"}
