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


def test_a_rank_for_which_nothing_is_left_gets_a_stand_in():
    first, second = deal(2, shuffle=False)
    assert first[-1] == [18, 20, 22]
    assert second[-1] == [19, 21]
    first, second, third = deal(3, n=20, shuffle=False)
    assert (first[-1], second[-1], third[-1]) == ([18], [19], [19])


@pytest.mark.parametrize("n", range(1, 15))
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_without_stand_ins_every_window_counts_once(n, world_size):
    counted = []
    for rank in range(world_size):
        sampler = EpochSampler(n, batch_size=6, rank=rank, world_size=world_size, shuffle=False)
        counted += [i for step, batch in enumerate(sampler) if not sampler.is_stand_in(step) for i in batch]
    assert sorted(counted) == list(range(n))


def test_only_the_resumed_epoch_starts_within():
    whole, resumed = (EpochSampler(23, seed=3, batch_size=6) for _ in range(2))
    resumed.start_at(1, 2)
    for epoch in (1, 2, 0):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[2 if epoch == 1 else 0 :]
        assert len(resumed) == len(whole) == 3


def test_few_windows_make_one_smaller_batch():
    assert sorted(*EpochSampler(5, batch_size=8)) == [0, 1, 2, 3, 4]
    first, second = deal(2, n=5, batch_size=8)
    assert len(first[0]) == len(second[0]) == 2
    assert len(first) == len(second) == 1


def test_a_batch_that_ranks_cannot_share_is_an_error():
    with pytest.raises(ValueError, match="multiple of the 4 ranks"):
        EpochSampler(23, batch_size=6, world_size=4)
