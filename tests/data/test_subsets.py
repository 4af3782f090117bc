from __future__ import annotations

import numpy as np
import pytest

from autocast.data.datamodule import FieldDataModule
from autocast.data.statistics import compute_statistics
from autocast.errors import ConfigError


def initial_fields(data: FieldDataModule, split: str = "train") -> set[bytes]:
    trajectories = data.split(split)
    return {trajectories.read(i, 0, 1).tobytes() for i in range(trajectories.n_trajectories)}


@pytest.fixture
def path(make_dataset):
    return make_dataset(train=[(13, 3), (7, 4)], valid=[(3, 3)], test=[(2, 3)])


def test_a_smaller_subset_is_part_of_a_larger_one(path):
    whole = FieldDataModule(path)
    previous: set[bytes] = set()
    for subset in (1, 4, 0.5, 15, 20, None):
        data = FieldDataModule(path, subset=subset)
        found = initial_fields(data)
        assert len(found) == {0.5: 10, None: 20}.get(subset, subset)
        assert previous <= found <= initial_fields(whole)
        assert not found & initial_fields(data, "valid")
        assert initial_fields(data, "valid") == initial_fields(whole, "valid")
        previous = found


def test_the_seed_draws_it(path):
    first, again, other = (initial_fields(FieldDataModule(path, subset=5, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_everything_of_a_trajectory_comes_along(path):
    data = FieldDataModule(path, subset=6)
    some, whole = data.split("train"), data.whole_split("train")
    names = [whole.name(i) for i in range(20)]
    for i in range(6):
        k = names.index(some.name(i))
        assert some.n_steps(i) == whole.n_steps(k)
        assert np.array_equal(some.read(i, 1, 3), whole.read(k, 1, 3))
        assert np.array_equal(some.scalars(i), whole.scalars(k))
        assert np.array_equal(some.constant_fields(i), whole.constant_fields(k))
    assert len(data.windows("train")) == sum(some.n_steps(i) - 1 for i in range(6))


def test_its_statistics_are_its_own_and_leave_the_file_alone(path):
    data = FieldDataModule(path, subset=3, normalisation="minmax")
    expected = compute_statistics(data.split("train"))
    assert np.array_equal(data.statistics.maximum, expected.maximum)
    assert not (path / "stats.yaml").exists()


def test_more_than_there_are_is_told_and_all_are_used(path):
    data = FieldDataModule(path, subset=1000)
    assert data.split("train").n_trajectories == 20
    assert data.notes == ["datamodule.subset=1000: there are 20 training trajectories, and all are used"]
    assert FieldDataModule(path, subset=20).notes == []


@pytest.mark.parametrize("subset", [0, -3, 0.0, 1.5, True])
def test_what_is_no_subset(path, subset):
    with pytest.raises(ConfigError, match=r"datamodule\.subset=.*whole number"):
        FieldDataModule(path, subset=subset)
