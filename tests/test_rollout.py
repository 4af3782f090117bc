import pytest
import torch

from autocast.rollout import rollout


def counting_step(n_steps_output, calls):
    """Continues the count in the last frame, so that windows can be read off."""

    def step(x):
        calls.append(x)
        return x[:, -1:] + torch.arange(1, n_steps_output + 1).reshape(1, -1, 1, 1)

    return step


@pytest.mark.parametrize(
    ("n_input", "n_output", "n_steps"), [(1, 1, 3), (3, 2, 7), (2, 5, 5), (4, 3, 2), (2, 2, 0), (1, 4, 9)]
)
def test_windows_join_to_the_steps_asked_for(n_input, n_output, n_steps):
    x = torch.arange(1 - n_input, 1.0).reshape(1, -1, 1, 1).expand(2, -1, 8, 3)
    calls = []
    windows = list(rollout(counting_step(n_output, calls), x, n_steps))
    assert len(calls) == len(windows) == -(-n_steps // n_output)
    if n_steps:
        steps = torch.cat(windows, dim=1)
        assert steps.shape == (2, n_steps, 8, 3)
        assert steps[0, :, 0, 0].tolist() == list(range(1, n_steps + 1))
    for i, call in enumerate(calls):
        last = i * n_output
        assert call[0, :, 0, 0].tolist() == list(range(last - n_input + 1, last + 1))


def test_rollout_cuts_the_last_window():
    windows = rollout(counting_step(4, []), torch.zeros(1, 2, 8, 1), 6)
    assert [window.shape[1] for window in windows] == [4, 2]


def test_steps_are_made_only_when_asked_for():
    calls = []
    windows = rollout(counting_step(1, calls), torch.zeros(1, 1, 8, 1), 100)
    assert not calls
    next(windows)
    assert len(calls) == 1
