"""How a trained run is found and opened from Python; what comes out is tested end to end with the workflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from autocast import workflows
from autocast.runs.directory import RunDirectory
from autocast.runs.environment import added_targets
from autocast.runs.identity import write_json


def test_a_run_is_loaded_with_the_targets_that_it_was_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCAST_TARGETS", raising=False)
    directory = RunDirectory(tmp_path / "run")
    write_json(directory.run_file("epd", "train"), {"uid": "12345678", "user_targets": "ours"})
    directory.checkpoint_file("epd").touch()
    monkeypatch.setattr(workflows, "load", lambda *found: added_targets())
    assert workflows.load_model(directory.path) == ("ours",)
    assert added_targets() == ()
    (tmp_path / ".env").write_text("AUTOCAST_TARGETS=theirs\n")
    assert workflows.load_model(directory.path) == ("theirs",)
    monkeypatch.delenv("AUTOCAST_TARGETS")
