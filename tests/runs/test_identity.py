"""Signatures, names and digests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autocast.runs.identity import (
    differences,
    fingerprint,
    known_sha256,
    new_uid,
    run_name,
    sha256,
    signature,
    write_text,
)

CONFIG = {
    "seed": 1,
    "datamodule": {"data_path": "datasets/a", "n_workers": 0, "batch_size": 4},
    "trainer": {"max_epochs": 3, "devices": 1},
    "eval": {"n_members": 8, "name": None},
    "logging": {},
}


def changed(key: str, value: object) -> dict:
    section, _, name = key.partition(".")
    if not name:
        return {**CONFIG, key: value}
    return {**CONFIG, section: {**CONFIG[section], name: value}}


def test_run_name_says_kind_data_processor_and_time():
    name = run_name("epd", "reaction_diffusion", "flow_matching")
    assert re.fullmatch(r"epd_reaction_diffusion_flow_matching_\d{6}_[0-9a-f]{4}", name)
    assert re.fullmatch(r"ae_my-data_\d{6}_[0-9a-f]{4}", run_name("ae", "my data", None))
    assert run_name("ae", "a", None) != run_name("ae", "a", None)


def test_uids_differ():
    assert len({new_uid() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("key", "value", "stage", "same"),
    [
        ("trainer.max_epochs", 4, "train", False),
        ("seed", 2, "train", False),
        ("datamodule.batch_size", 5, "train", False),
        ("trainer.devices", 2, "train", True),
        ("trainer.num_nodes", 2, "train", True),
        ("cluster", {"nodes": 2, "time": "12:00:00"}, "train", True),
        ("cluster", {"nodes": 2, "time": "12:00:00"}, "eval", True),
        ("datamodule.n_workers", 2, "train", True),
        ("logging", {"wandb": {"project": "p"}}, "train", True),
        ("eval.n_members", 3, "train", True),
        ("eval.n_members", 3, "eval", False),
        ("eval.name", "b", "eval", True),
        ("trainer.max_epochs", 4, "eval", True),
    ],
)
def test_a_signature_leaves_out_names_and_resources(key: str, value: object, stage: str, same: bool):
    assert (signature(CONFIG, stage, {}) == signature(changed(key, value), stage, {})) is same


def test_files_enter_a_signature_by_what_stands_in_for_them():
    inputs = {"datamodule.data_path": "/data/a"}
    moved = changed("datamodule.data_path", "/data/a/../a")
    assert signature(CONFIG, "train", inputs) == signature(moved, "train", inputs)
    assert signature(CONFIG, "train", inputs) != signature(CONFIG, "train", {"datamodule.data_path": "/data/b"})


def test_a_signature_does_not_depend_on_the_order_of_keys():
    assert signature(dict(reversed(CONFIG.items())), "train", {}) == signature(CONFIG, "train", {})


def test_differences_name_each_leaf():
    new = {**changed("trainer.max_epochs", 9), "extra": {"a": 1}}
    assert differences(CONFIG, new) == {"trainer.max_epochs": (3, 9), "extra.a": (None, 1)}


def test_a_known_digest_holds_while_size_and_time_do(tmp_path: Path):
    file = tmp_path / "a"
    file.write_text("one")
    known = {**fingerprint(file), "sha256": "from the marker"}
    assert known_sha256(file, known) == "from the marker"
    file.write_text("other")
    assert known_sha256(file, known) == sha256(file) == known_sha256(file, None)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    file = tmp_path / "a.json"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\ud800")
    assert file.read_text() == "old"
