from __future__ import annotations

import numpy as np
import pytest

from autocast.data.sampler import EpochSampler


def deal(world_size: int, n: int = 23, batch_size: int = 6, **options) -> list[list[list[int]]]:
    ranks = [
        EpochSampler(n, seed=3, batch_size=batch_size, rank=r, world_size=world_size, **options)
        for r in range(world_size)
    ]
    return [list(rank) for rank in ranks]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_number_of_ranks_gets_the_same_global_batches(world_size, shuffle):
    (alone,) = deal(1, n=24, shuffle=shuffle)
    ranks = deal(world_size, n=24, shuffle=shuffle)
    for step, batch in enumerate(alone):
        assert [batch[rank::world_size] for rank in range(world_size)] == [rank[step] for rank in ranks]


def test_an_epoch_has_no_window_twice_and_leaves_out_other_ones_each_time():
    sampler = EpochSampler(23, seed=3, batch_size=6)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append(np.concatenate(list(sampler)))
        assert len(epochs[-1]) == 18 == 6 * len(sampler)
        assert len(set(epochs[-1])) == 18
    assert set(epochs[0]) != set(epochs[1])


def test_the_order_is_that_of_seed_and_epoch_alone():
    first = EpochSampler(23, seed=3, batch_size=6)
    for epoch in range(3):
        first.set_epoch(epoch)
        list(first)
    later = EpochSampler(23, seed=3, batch_size=6)
    later.set_epoch(2)
    assert list(first) == list(later)
    later.set_epoch(1)
    assert list(first) != list(later)
    assert list(EpochSampler(23, seed=4, batch_size=6)) != list(EpochSampler(23, seed=3, batch_size=6))


def test_in_order_every_window_comes_once():
    sampler = EpochSampler(23, batch_size=6, shuffle=False)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 4
    assert np.concatenate(batches).tolist() == list(range(23))


def test_ranks_that_lack_a_window_repeat_the_last():
    first, second = deal(2, shuffle=False)
    assert first[-1] == [18, 20, 22]
    assert second[-1] == [19, 21, 22]


def test_few_windows_make_one_smaller_batch():
    assert sorted(*EpochSampler(5, batch_size=8)) == [0, 1, 2, 3, 4]
    first, second = deal(2, n=5, batch_size=8)
    assert len(first[0]) == len(second[0]) == 2
    assert len(first) == len(second) == 1


def test_a_batch_that_ranks_cannot_share_is_an_error():
    with pytest.raises(ValueError, match="multiple of the 4 ranks"):
        EpochSampler(23, batch_size=6, world_size=4)
