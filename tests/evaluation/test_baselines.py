import numpy as np
import pytest
import torch

from autocast.data.trajectories import Trajectories
from autocast.evaluation import baselines
from autocast.evaluation.baselines import LeastSquares, Persistence, fit_baselines
from autocast.rollout import rollout
from autocast.types import FieldSpec


class ArrayTrajectories(Trajectories):
    """Trajectories `(T, *S, C)` in memory."""

    def __init__(self, arrays):
        self.arrays = arrays
        grid, n_channels = arrays[0].shape[1:-1], arrays[0].shape[-1]
        self.n_trajectories = len(arrays)
        self.spec = FieldSpec(
            "toy",
            tuple("uvw"[:n_channels]),
            ("",) * n_channels,
            tuple("xyz"[: len(grid)]),
            grid,
            (1.0,) * len(grid),
            ("periodic",) * len(grid),
            0.1,
        )

    def n_steps(self, i):
        return len(self.arrays[i])

    def read(self, i, start, stop, stride=1):
        self.check_range(i, start, stop, stride)
        return self.arrays[i][start:stop:stride].astype(np.float32)

    def scalars(self, i):
        return np.empty(0, np.float32)

    def constant_fields(self, i):
        return None

    def name(self, i):
        return f"toy {i}"


A1 = np.array([[0.5, -0.3], [0.2, 0.4]])
A2 = np.array([[0.3, 0.1], [-0.2, 0.3]])
OFFSET = np.array([10.0, -3.0])


def linear_trajectories(n=4, n_steps=9, grid=(8, 6)):
    """x[t + 1] = A1 x[t] + A2 x[t - 1] + offset at every point."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        frames = list(rng.normal(size=(2, *grid, 2)) * 3 + 10)
        while len(frames) < n_steps:
            frames.append(frames[-1] @ A1.T + frames[-2] @ A2.T + OFFSET)
        found.append(np.stack(frames))
    return ArrayTrajectories(found)


@pytest.mark.parametrize(("n_steps_output", "chunk"), [(1, 2**20), (1, 200), (3, 2**20), (3, 100)])
def test_a_linear_map_is_recovered_and_rolled_out(n_steps_output, chunk, monkeypatch):
    monkeypatch.setattr(baselines, "CHUNK_VALUES", chunk)
    train = linear_trajectories()
    step = fit_baselines(["linear"], train, n_steps_input=2, n_steps_output=n_steps_output)["linear"]
    if n_steps_output == 1:
        np.testing.assert_allclose(step.weight[:2].T, A2, atol=1e-5)  # the older step comes first
        np.testing.assert_allclose(step.weight[2:].T, A1, atol=1e-5)
        np.testing.assert_allclose(step.bias, OFFSET, atol=1e-4)
    truth = torch.from_numpy(train.arrays[0]).float().unsqueeze(0)
    forecast = torch.cat(list(rollout(step, truth[:, :2], 7)), dim=1)
    torch.testing.assert_close(forecast, truth[:, 2:], rtol=1e-4, atol=1e-4)


def test_stride_takes_frames_apart():
    rng = np.random.default_rng(1)
    frames = [rng.normal(size=(1, 20, 1))]
    for i in range(8):
        frames.append(frames[-1] * (0.5 if i % 2 else 3.0))
    train = ArrayTrajectories([np.concatenate(frames)])
    step = fit_baselines(["linear"], train, n_steps_input=1, n_steps_output=1, stride=2)["linear"]
    assert step.weight.item() == pytest.approx(1.5, rel=1e-5)


def test_persistence_is_exact_where_nothing_happens():
    x = torch.randn(3, 1, 5, 4, 2).repeat(1, 2, 1, 1, 1)
    windows = list(rollout(Persistence(n_steps_output=3), x, 7))
    assert [window.shape[1] for window in windows] == [3, 3, 1]
    assert torch.equal(torch.cat(windows, dim=1), x[:, :1].repeat(1, 7, 1, 1, 1))


@pytest.mark.parametrize("chunk", [2**20, 200])
def test_climatology_is_the_mean_of_every_training_frame(chunk, monkeypatch):
    monkeypatch.setattr(baselines, "CHUNK_VALUES", chunk)
    train = linear_trajectories()
    found = fit_baselines(["climatology", "persistence"], train, n_steps_input=2, n_steps_output=2)
    assert set(found) == {"climatology", "persistence"}
    y = found["climatology"](torch.zeros(3, 2, 8, 6, 2))
    assert y.shape == (3, 2, 8, 6, 2)
    np.testing.assert_allclose(y[2, 1], np.concatenate(train.arrays).mean(0), rtol=1e-5)


def test_a_channel_that_never_changes_does_no_harm():
    train = linear_trajectories()
    for array in train.arrays:
        array[..., 1] = 4.0
    step = fit_baselines(["linear"], train, n_steps_input=1, n_steps_output=1)["linear"]
    y = step(torch.from_numpy(train.arrays[0][None, :1]).float())
    assert y.isfinite().all()
    torch.testing.assert_close(y[..., 1], torch.full_like(y[..., 1], 4.0))


def test_least_squares_keeps_its_digits_beside_a_large_mean():
    rng = np.random.default_rng(2)
    x = 1e6 + rng.normal(size=(500, 2))
    equations = LeastSquares(2, 1)
    for part in np.split(x, 5):
        equations.add(part, part @ np.array([[2.0], [-1.0]]) + 5)
    weight, bias = equations.solve()
    np.testing.assert_allclose(weight[:, 0], [2, -1], atol=1e-8)
    np.testing.assert_allclose(bias, 5, atol=1e-2)


def test_a_large_split_is_fitted_to_in_part(monkeypatch):
    train = linear_trajectories(n=8)
    monkeypatch.setattr(baselines, "MAX_VALUES", train.n_bytes // 4 // 2)
    assert baselines.fitted_trajectories(train) == [0, 2, 4, 6]
