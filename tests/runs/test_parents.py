"""What a stage stands on: known by its content, and not used before it is complete."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from autocast.runs import parents
from autocast.runs.directory import RunDirectory, UpstreamError
from autocast.runs.identity import sha256
from autocast.runs.parents import RESUMED_FROM, Parent, await_done, stage_signature, verified
from tests.runs.plans import config, trained, write_marker


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents, "POLL_SECONDS", 0.01)


def signed(*records: dict[str, Any]) -> str:
    return stage_signature(config(), "train", records)


def test_a_renamed_parent_is_the_same_parent(tmp_path: Path):
    file = trained(tmp_path / "a")
    before = signed(Parent.of("model", file).record())
    file = (tmp_path / "a").rename(tmp_path / "b") / file.name
    assert signed(Parent.of("model", file).record()) == before
    file.write_text("other weights")
    assert signed(Parent.of("model", file).record()) != before


def test_a_parent_that_is_still_to_be_made_is_known_by_its_run(tmp_path: Path):
    one = Parent.of("model", trained(tmp_path / "a", done=False, uid="1"), awaited=True)
    other = Parent.of("model", trained(tmp_path / "b", done=False, uid="2"), awaited=True)
    assert one.pending
    assert (one.record()["uid"], one.record()["sha256"]) == ("1", None)
    assert signed(one.record()) != signed(other.record())


def test_where_a_training_goes_on_from_does_not_make_it_another_one(tmp_path: Path):
    file = trained(tmp_path / "a")
    assert signed(Parent.of(RESUMED_FROM, file).record()) == signed()
    assert signed(Parent.of("init_from", file).record()) != signed()


def test_only_the_checkpoint_of_an_unfinished_training_is_awaited(tmp_path: Path):
    file = trained(tmp_path / "a", done=False)
    epoch = tmp_path / "a/epd/checkpoints/epoch-0007.ckpt"
    loose = tmp_path / "loose.ckpt"
    for other in (epoch, loose):
        other.parent.mkdir(parents=True, exist_ok=True)
        other.touch()
    assert Parent.of("model", file, awaited=True).pending
    assert not Parent.of("model", file).pending, "used as it is, where nobody can wait"
    assert not Parent.of("model", epoch, awaited=True).pending, "it will not change"
    assert not Parent.of("model", loose, awaited=True).pending, "nobody makes it"
    write_marker(file)
    assert not Parent.of("model", file, awaited=True).pending


def test_a_digest_comes_from_the_marker_while_that_holds(tmp_path: Path):
    file = trained(tmp_path / "a")
    marker = RunDirectory(tmp_path / "a").done_file("epd", "train")
    known = json.loads(marker.read_text())
    known["products"][file.name]["sha256"] = "as told"
    marker.write_text(json.dumps(known))
    assert Parent.of("model", file).sha256() == "as told"
    file.write_text("changed since then")
    assert Parent.of("model", file).sha256() == sha256(file)


def test_a_job_waits_for_the_marker_of_its_parent(tmp_path: Path):
    file = trained(tmp_path / "a", {"event": "finished"}, done=False)
    record = Parent.of("model", file, awaited=True).record()
    late = threading.Timer(0.1, write_marker, [file])
    late.start()
    found = verified(record, seconds=60)
    late.join()
    assert found == {**record, "uid": "cafe0001", "sha256": sha256(file)}


def test_a_marker_that_does_not_come_is_an_incomplete_parent(tmp_path: Path):
    record = Parent.of("model", trained(tmp_path / "a", {"event": "finished"}, done=False), awaited=True).record()
    with pytest.raises(UpstreamError, match=r"no marker after 0 s.*autocast resume"):
        verified(record, seconds=0)


@pytest.mark.parametrize("word", ["failed", "stuck", "cancelled", "aborted", "interrupted"])
def test_a_parent_that_ended_badly_is_refused_at_once(tmp_path: Path, word: str):
    file = trained(tmp_path / "a", {"event": "started"}, {"event": word}, done=False)
    record = Parent.of("model", file, awaited=True).record()
    with pytest.raises(UpstreamError, match=f"its last word is '{word}'.*autocast resume"):
        verified(record, seconds=10**6)


def test_a_parent_that_changed_after_it_was_done_is_refused(tmp_path: Path):
    file = trained(tmp_path / "a")
    awaited = {**Parent.of("model", file).record(), "sha256": None}
    known = Parent.of("model", file).record()
    assert verified(known, seconds=0) == verified(awaited, seconds=0) == known
    file.write_text("something else")
    for record in (known, awaited):
        with pytest.raises(UpstreamError, match="its content is not what its run left"):
            verified(record, seconds=0)


def test_a_parent_that_is_gone_is_refused(tmp_path: Path):
    file = trained(tmp_path / "a")
    record = Parent.of("model", file).record()
    file.unlink()
    with pytest.raises(UpstreamError, match=r"no such file, which this stage needs \(model\)"):
        verified(record, seconds=0)


def test_a_training_that_made_something_else_is_no_parent(tmp_path: Path):
    file = trained(tmp_path / "a")
    RunDirectory(tmp_path / "a").done_file("epd", "train").write_text('{"products": {}}')
    record = {**Parent.of("model", file).record(), "sha256": None}
    with pytest.raises(UpstreamError, match=f"its marker does not know {file.name}"):
        verified(record, seconds=0)


def test_a_stage_that_was_named_by_hand_is_awaited_too(tmp_path: Path):
    file = trained(tmp_path / "a")
    run = RunDirectory(file.parent)
    await_done(run, "epd", "train", seconds=0)
    with pytest.raises(UpstreamError, match="its epd eval is not complete"):
        await_done(run, "epd", "eval", seconds=0)
