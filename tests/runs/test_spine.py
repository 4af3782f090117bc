"""The sections that code branches on have the defaults of what they configure."""

from __future__ import annotations

from dataclasses import fields

from autocast.runs.spine import Checkpoint
from autocast.training.checkpoints import CheckpointSettings


def test_checkpoints_have_one_set_of_defaults():
    settings = {field.name: field.default for field in fields(CheckpointSettings)}
    assert {field.name: field.default for field in fields(Checkpoint)}.items() <= settings.items()
