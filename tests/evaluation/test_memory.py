"""What a model call needs is measured, and decides how much goes into one."""

from __future__ import annotations

import pytest
import torch

from autocast.errors import ConfigError
from autocast.evaluation.memory import HOST_BUDGET, peak_bytes, rows_that_fit
from autocast.evaluation.settings import EvaluationSettings

CPU = torch.device("cpu")
ROW = 4 * 1000
KEPT = torch.zeros(1000)


@pytest.mark.parametrize(
    ("call", "n_rows"),
    [
        (lambda: torch.zeros(3, 1000), 3),
        (lambda: torch.zeros(3, 1000).exp().exp(), 6),  # an operation needs its input and its output
        (lambda: KEPT.add_(1), 0),
        (lambda: KEPT[:500].view(2, 250), 0),
        (lambda: KEPT.expand(5, -1) + 1, 5),
    ],
)
def test_the_peak_is_what_lives_at_once(call, n_rows):
    assert peak_bytes(call, CPU) == n_rows * ROW


def test_rows_fill_the_budget_beside_what_does_not_grow_with_them():
    def call(n_rows):
        fixed = torch.zeros(10, 1000)
        return fixed, torch.zeros(n_rows, 1000)

    assert rows_that_fit(call, CPU, budget=110 * ROW) == 100
    assert rows_that_fit(call, CPU, budget=ROW) == 1
    assert rows_that_fit(call, CPU) == int((HOST_BUDGET - 10 * ROW) / ROW)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"eval\.memory_limit=0: GB, more than 0"):
        EvaluationSettings(memory_limit=0)
