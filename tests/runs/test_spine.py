"""The sections that code branches on have the defaults of what they configure."""

from __future__ import annotations

from dataclasses import asdict, fields

import yaml

from autocast.runs.spine import Checkpoint, Cluster
from autocast.runs.tree import own_configs
from autocast.training.checkpoints import CheckpointSettings


def test_checkpoints_have_one_set_of_defaults():
    settings = {field.name: field.default for field in fields(CheckpointSettings)}
    assert {field.name: field.default for field in fields(Checkpoint)}.items() <= settings.items()


def test_the_generic_cluster_profile_lists_every_key_with_its_default():
    generic = yaml.safe_load((own_configs() / "cluster" / "generic.yaml").read_text())
    assert list(generic.items()) == list(asdict(Cluster()).items())
