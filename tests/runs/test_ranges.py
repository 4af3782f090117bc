"""Values of a right type that cannot be."""

import pytest

from autocast.data.datamodule import PLACEMENTS
from autocast.data.normaliser import NORMALISATIONS
from autocast.runs import ranges
from autocast.runs.compose import compose
from autocast.runs.launch import run
from autocast.runs.request import Request

WARMUP = "model.objective.weights.kl.warmup"


@pytest.fixture
def problems(tmp_path):
    """Of the training of an autoencoder, by their subjects."""

    def found(*words):
        request = Request("ae", (f"datamodule.data_path={tmp_path}", *words))
        return {problem.subject: problem.message for problem in compose(request).problems}

    return found


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("datamodule.subset=0", "0: a whole number of trajectories from 1"),
        ("datamodule.subset=1.5", "1.5: a whole number of trajectories from 1"),
        ("datamodule.normalisation=minmx", "one of zscore, rms, minmax, none is wanted"),
        ("datamodule.placement=disc", "one of auto, disk, ram, device is wanted"),
        ("datamodule.n_steps_output=-1", "-1: at least 0 is wanted"),
        ("datamodule.batch_size=0", "0: at least 1 is wanted"),
        ("datamodule.stride=0", "0: at least 1 is wanted"),
        ("datamodule.size=-3", "-3: [height,width] in pixels"),
        ("datamodule.size=[8]", "[height,width] in pixels"),
        ("datamodule.size=[8,0]", "[height,width] in pixels"),
        ("samples.every_n_epochs=0", "0: at least 1 is wanted"),
        ("seed=-1", "-1: at least 0 is wanted"),
        ("kl_warmup=banana", '"banana": a length is wanted'),
        ("kl_warmup=-3", "-3: a length is wanted"),
    ],
)
def test_each_is_named_by_its_key(problems, word, said):
    found = problems("bottleneck=gaussian", "objective=vae", word)
    assert list(found) == [word]
    assert said in found[word]


@pytest.mark.parametrize(
    "words",
    [
        ("datamodule.subset=1", "datamodule.size=8", "kl_warmup=5 epochs", "samples.every_n_epochs=null"),
        ("datamodule.subset=1.0", "datamodule.size=[8,12]", "kl_warmup=20 %", "datamodule.n_steps_output=0"),
        ("datamodule.subset=null", "datamodule.size=null", "kl_warmup=0", "datamodule.normalisation=rms"),
    ],
)
def test_others_are_no_problem(problems, words):
    assert problems("bottleneck=gaussian", "objective=vae", *words) == {}


def test_a_length_is_named_by_the_key_that_was_typed(problems):
    word = f"{WARMUP}=banana"
    assert list(problems("bottleneck=gaussian", "objective=vae", word)) == [word]


def test_a_value_of_another_type_is_one_problem(problems):
    assert list(problems("datamodule.batch_size=many")) == ["datamodule.batch_size=many"]


def test_nothing_is_written_and_all_are_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waves").mkdir()
    words = ("datamodule.stride=0", "samples.every_n_epochs=0")
    for dry_run in (True, False):
        assert run(Request("ae", words, dataset="waves", workdir=tmp_path / "run", dry_run=dry_run)) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in words)
        assert not (tmp_path / "run").exists()


def test_names_are_those_of_the_data_module():
    assert (ranges.NORMALISATIONS, ranges.PLACEMENTS) == (NORMALISATIONS, PLACEMENTS)
