"""What a dry run says of a config: values that differ, and keys that are gone."""

from __future__ import annotations

from autocast.runs.changes import changes

DEFAULTS = {
    "datamodule": {"augment": {"_target_": "a.B", "roll": True}, "batch_size": 4},
    "callbacks": {"ema": {"_target_": "a.C", "decay": 0.9}},
    "logging": {},
    "seed": None,
}


def changed(**sections: object) -> dict:
    return {**DEFAULTS, **sections}


def test_the_defaults_differ_in_nothing():
    found = changes(DEFAULTS, changed())
    assert (found.values, found.removed, found.lines) == ({}, (), [])


def test_values_are_named_by_their_leaves():
    found = changes(DEFAULTS, changed(seed=3, logging={"wandb": {"mode": "offline", "tags": []}}))
    assert found.values == {"logging.wandb.mode": "offline", "logging.wandb.tags": [], "seed": 3}
    assert found.removed == ()


def test_a_section_that_became_null_is_one_key():
    found = changes(DEFAULTS, changed(datamodule={"augment": None, "batch_size": 4}))
    assert found.lines == ["datamodule.augment: null"]


def test_what_is_gone_is_said_to_be_removed():
    other = {"augment": {"_target_": "a.D"}, "batch_size": 4}
    found = changes(DEFAULTS, changed(callbacks={}, datamodule=other))
    assert found.lines == [
        "datamodule.augment._target_: a.D",
        "datamodule.augment.roll   removed",
        "callbacks.ema   removed",
    ]
    assert found.rows[-1] == ("callbacks.ema", "removed")


def test_a_key_whose_value_is_null_is_there():
    without = {key: value for key, value in DEFAULTS.items() if key != "seed"}
    assert changes(without, DEFAULTS).lines == ["seed: null"]
    assert changes(DEFAULTS, without).lines == ["seed   removed"]
