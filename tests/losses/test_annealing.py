"""Weights that change while a training goes on."""

import math

import pytest

from autocast.errors import ConfigError
from autocast.losses.annealing import (
    END,
    Constant,
    Cosine,
    Cyclical,
    Delayed,
    Linear,
    Piecewise,
    Progress,
    Sigmoid,
)

ANNEALINGS = [
    Constant(4),
    Linear(2, 1000),
    Linear(0.5, "5 epochs"),
    Sigmoid(1, 1000),
    Cosine(2.0, "20 %"),
    Cyclical(1, 100),
    Piecewise([[0, 0.1], [100, 1.0], ["50 %", 0.5]]),
    Delayed(Linear(1.0, 100), "10 %"),
    Delayed(3.0, 50),
]


@pytest.mark.parametrize(
    ("annealing", "cases"),
    [
        (Constant(4), {0: 4, 100_000: 4}),
        (Linear(2, 1000), {0: 0, 1: 0.002, 250: 0.5, 500: 1, 999: 1.998, 1000: 2, 2000: 2}),
        (
            Sigmoid(1, 1000),
            {
                **{0: 0.0066929, 100: 0.0179862, 250: 0.0758582, 400: 0.2689414, 500: 0.5},
                **{600: 0.7310586, 750: 0.9241418, 1000: 0.9933072, 2000: 0.9999996},
            },
        ),
        (Cyclical(1, 100), {0: 0, 1: 0.02, 25: 0.5, 50: 1, 75: 1, 99: 1, 100: 0, 125: 0.5, 150: 1, 199: 1, 200: 0}),
        (Cosine(2, 100), {0: 0, 50: 1, 100: 2, 101: 2, 25: 1 - math.sqrt(0.5)}),
        (Piecewise([[10, 1.0], [20, 3.0], [40, 0.0]]), {0: 1, 10: 1, 15: 2, 20: 3, 30: 1.5, 40: 0, 99: 0}),
        (Delayed(Linear(2, 100), 50), {0: 0, 49: 0, 50: 0, 100: 1, 150: 2}),
        (Delayed(3, 50), {0: 0, 49: 0, 50: 3}),
    ],
)
def test_weights_at_steps(annealing, cases):
    for step, weight in cases.items():
        assert annealing.at(Progress(step)) == pytest.approx(weight, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("annealing", ANNEALINGS, ids=str)
def test_all_end_at_their_weight(annealing):
    assert annealing.at(END) == annealing.weight
    assert annealing.at(Progress(999_999_999, 100, 10**6)) == pytest.approx(annealing.weight)


def test_lengths_may_be_epochs_or_shares_of_the_run():
    progress = Progress(50, steps_per_epoch=20, total_steps=1000)
    assert Linear(1.0, "5 epochs").at(progress) == 0.5
    assert Linear(1.0, "1 epoch").at(progress) == 1.0
    assert Linear(1.0, "10 %").at(progress) == 0.5
    assert Linear(1.0, "12.5%").at(progress) == 0.4
    assert Linear(1.0, 0).at(progress) == 1.0


def test_no_length_is_no_length_of_a_run_without_end():
    assert Piecewise([["0 %", 0.1], ["50 %", 1.0]]).at(Progress(0)) == 0.1
    assert Delayed(2.0, "0 epochs").at(Progress(0)) == 2.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cyclical(1, 1), "never leaves 0"),
        (lambda: Linear(1, -1), "warmup=-1"),
        (lambda: Linear(1, "5 days"), "'5 days' is no length"),
        (lambda: Piecewise([[10, 1], [10, 2]]), "lengths must grow"),
        (lambda: Piecewise([]), "length, weight"),
        (lambda: Delayed(1.0, "soon"), "'soon' is no length"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
