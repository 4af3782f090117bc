"""When an evaluation compiles its forecasts."""

from types import SimpleNamespace

import pytest
import torch

from autocast.errors import ConfigError
from autocast.evaluation import compilation
from autocast.evaluation.compilation import compile_where_it_pays, count_calls
from autocast.evaluation.settings import EvaluationSettings

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Model:
    n_steps_output, n_solver_steps = 2, 50

    def __init__(self, fails=None):
        self.modes = []
        self.fails = fails

    def compile_forecasts(self, mode):
        self.modes.append(mode)


class Forecaster:
    """Of a model on a device that this machine may not have."""

    compiled = False

    def __init__(self, model, device):
        self.model, self.device, self.asked = model, device, []
        self.stopwatch = self

    def __call__(self, batch):
        self.asked.append(batch)
        if self.model.fails:
            raise self.model.fails
        yield batch

    def forget(self):
        self.asked.clear()


def plan(compile, n_trajectories):
    """Five batches for 20 trajectories, of 50 windows each: 12,500 network calls."""
    return SimpleNamespace(
        settings=EvaluationSettings(compile=compile),
        lengths=[100] * n_trajectories,
        batch_size=4,
        n_members=8,
        max_rows=32,
        n_trajectories=n_trajectories,
        test=SimpleNamespace(opening=lambda n_rows, n_steps: n_rows),
    )


@pytest.mark.parametrize(
    ("compile", "device", "n_trajectories", "modes"),
    [
        ("auto", CPU, 20, []),
        ("auto", GPU, 20, ["reduce-overhead"]),
        ("auto", GPU, 12, []),
        (True, CPU, 1, ["default"]),
        (True, GPU, 1, ["reduce-overhead"]),
        (False, GPU, 20, []),
    ],
)
def test_forecasts_are_compiled_where_it_pays(monkeypatch, compile, device, n_trajectories, modes):
    monkeypatch.setattr(compilation, "has_compiler", lambda device: True)
    monkeypatch.setattr(compilation, "check_compiler", lambda device, key: None)
    forecaster = Forecaster(Model(), device)
    compile_where_it_pays(forecaster, plan(compile, n_trajectories), note=None)
    assert forecaster.compiled == bool(modes)
    assert forecaster.model.modes == modes


def test_batches_of_both_sizes_are_tried(monkeypatch):
    monkeypatch.setattr(compilation, "has_compiler", lambda device: True)
    forecaster = Forecaster(Model(), GPU)
    compile_where_it_pays(forecaster, plan("auto", 21), note=None)
    assert sorted(forecaster.asked) == [1, 4]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("no graph\nand a long trace"), "no graph"), (AssertionError(), "AssertionError")],
)
def test_what_does_not_compile_stays_eager_unless_it_is_asked_for(monkeypatch, error, reason):
    monkeypatch.setattr(compilation, "has_compiler", lambda device: True)
    forecaster, notes = Forecaster(Model(fails=error), GPU), []
    compile_where_it_pays(forecaster, plan("auto", 20), notes.append)
    assert not forecaster.compiled
    assert forecaster.model.modes == ["reduce-overhead", None]
    assert forecaster.asked == []
    assert notes == [f"forecasts are not compiled ({reason}); eval.compile=false does not try"]


def test_calls_are_those_of_all_windows_and_batches():
    assert count_calls(Model(), plan("auto", 20)) == 5 * 50 * 50


def test_without_a_compiler_only_those_who_ask_are_told(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    forecaster = Forecaster(Model(), GPU)
    compile_where_it_pays(forecaster, plan("auto", 20), note=None)
    assert not forecaster.compiled
    with pytest.raises(ConfigError, match=r"eval.compile=true: torch compiles for cuda with a C compiler"):
        compile_where_it_pays(forecaster, plan(True, 20), note=None)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match=r"eval.compile=fast: true, false or auto is wanted"):
        EvaluationSettings(compile="fast")
