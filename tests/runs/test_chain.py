"""The jobs that stages become, and what each waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autocast.runs.chain import Link, chain
from autocast.runs.directory import RunDirectory
from autocast.runs.parents import Parent
from autocast.runs.rehearsal import rehearse
from autocast.runs.slurm.queue import SlurmJob
from autocast.runs.watch.stages import Stage
from tests.runs.plans import REQUEST, Jobs, evaluation, trained, training

MakeJob = Callable[..., SlurmJob]
SUBMITTED = {"event": "submitted", "job_id": "41", "comment": "c", "dependency": []}


@pytest.fixture
def pending_autoencoder(tmp_path: Path) -> Parent:
    """Made by job 41."""
    file = trained(tmp_path / "ae", {"event": "launched"}, SUBMITTED, kind="ae", done=False)
    return Parent.of("autoencoder_checkpoint", file, awaited=True)


def told(links: Sequence[Link]) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(link.name, link.waits_for, link.follows) for link in links]


def test_an_evaluation_follows_its_training(tmp_path: Path):
    links = chain([training(tmp_path / "a"), evaluation(tmp_path / "a")], REQUEST, Jobs())
    assert told(links) == [("train", (), False), ("eval", (), True)]


def test_both_evaluations_of_a_run_wait_for_the_training_and_not_for_each_other(tmp_path: Path):
    plans = [training(tmp_path / "a"), evaluation(tmp_path / "a"), evaluation(tmp_path / "a", stage="eval-2")]
    assert told(chain(plans, REQUEST, Jobs())) == [("train", (), False), ("eval", (), True), ("eval-2", (), True)]


def test_a_parent_elsewhere_that_is_being_made_is_waited_for(tmp_path: Path, pending_autoencoder: Parent, job: MakeJob):
    plans = [training(tmp_path / "a", pending_autoencoder), evaluation(tmp_path / "a")]
    assert told(chain(plans, REQUEST, Jobs(job("41", "RUNNING")))) == [("train", ("41",), False), ("eval", (), True)]


def test_a_parent_elsewhere_that_is_done_is_not_waited_for(tmp_path: Path):
    done = Parent.of("autoencoder_checkpoint", trained(tmp_path / "ae", kind="ae"), awaited=True)
    assert told(chain([training(tmp_path / "a", done)], REQUEST, Jobs(reachable=False))) == [("train", (), False)]


def test_an_evaluation_alone_waits_for_the_training_that_goes_on(tmp_path: Path, job: MakeJob):
    file = trained(tmp_path / "a", {"event": "launched"}, SUBMITTED, done=False)
    plan = evaluation(tmp_path / "a", Parent.of("model", file, awaited=True))
    assert told(chain([plan], REQUEST, Jobs(job("41", "PENDING")))) == [("eval", ("41",), False)]


def test_what_is_named_by_hand_is_waited_for_by_the_first_job(
    tmp_path: Path, pending_autoencoder: Parent, job: MakeJob
):
    request = replace(REQUEST, after=("39", str(tmp_path / "ae")), output_base=tmp_path)
    plans = [training(tmp_path / "a"), evaluation(tmp_path / "a")]
    links = chain(plans, request, Jobs(job("39", "RUNNING"), job("41", "RUNNING")))
    assert told(links) == [("train", ("39", "41"), False), ("eval", (), True)]
    assert links[0].after == (Stage(RunDirectory(tmp_path / "ae"), "ae", "train"),)


def test_one_allocation_holds_both_and_waits_for_everything(tmp_path: Path, pending_autoencoder: Parent, job: MakeJob):
    request = replace(REQUEST, single_allocation=True, after=("39",))
    plans = [training(tmp_path / "a", pending_autoencoder, time=60), evaluation(tmp_path / "a", time=5)]
    (link,) = chain(plans, request, Jobs(job("39", "RUNNING"), job("41", "RUNNING")))
    assert told([link]) == [("train+eval", ("41", "39"), False)]
    submission = link.submission(("39", "41", "39"), "beef", "cafe0001")
    assert submission.words == ("train_epd", str(tmp_path / "a"), "train+eval")
    assert submission.comment == "autocast:cafe0001:train+eval:beef"
    assert submission.cluster["time"] == 60
    assert submission.dependency == ("39", "41")


def test_each_job_has_its_own_resources_and_the_logs_of_its_kind(tmp_path: Path):
    plans = [training(tmp_path / "rd/00", time=60), evaluation(tmp_path / "rd/00", time=5)]
    first, second = (link.submission((), "beef", "cafe0001") for link in chain(plans, REQUEST, Jobs()))
    assert (first.cluster["time"], second.cluster["time"]) == (60, 5)
    assert (first.name, second.name) == ("rd.00.epd.train", "rd.00.epd.eval")
    assert first.log_dir == second.log_dir == tmp_path / "rd/00/epd/logs"


def test_without_a_scheduler_what_is_waited_for_stands_in_brackets(
    tmp_path: Path, pending_autoencoder: Parent, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    request = replace(REQUEST, after=("39",), dry_run=True)
    scripts = rehearse([training(tmp_path / "rd/00", pending_autoencoder), evaluation(tmp_path / "rd/00")], request)
    label = f"{tmp_path.name}/ae"
    assert [script.dependency for script in scripts] == [
        f"afterok:<id of {label} ae>:<id of 39>",
        "afterok:<id of train>",
    ]
    for script in scripts:
        assert f"#SBATCH --dependency={script.dependency}\n" in script.text
        assert "what the jobs wait for: there is no squeue on this machine" in script.unchecked[0]
    assert not (tmp_path / "rd").exists()
