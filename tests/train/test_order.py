"""The order of training: laws, on generated shards."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.order import Order, Rows, Shards, mix


def world(sizes: list[int], buckets: int, seed: int = 0) -> tuple[Shards, list[Rows]]:
    rng = np.random.default_rng(seed)
    rows = [
        Rows(rng.integers(0, 2**63, size, dtype=np.uint64), rng.integers(0, buckets, size).astype(np.uint8))
        for size in sizes
    ]
    counts = np.array([np.bincount(one.buckets, minlength=buckets) for one in rows], np.int64).reshape(-1, buckets)
    return Shards(tuple(f"shard {i}" for i in range(len(sizes))), counts), rows


def walk(order: Order, rows: list[Rows], epoch: int) -> list[list[tuple[int, int]]]:
    now = order.epoch(epoch)
    found = [now.slots(batch, rows.__getitem__) for batch in range(order.batches)]
    return [list(zip(one.shard.tolist(), one.row.tolist(), strict=True)) for one in found]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any),
    buckets=st.integers(1, 3), batch=st.integers(1, 12), window=st.integers(1, 4), epoch=st.integers(0, 3),
)  # fmt: skip
def test_each_row_comes_once_an_epoch_in_batches_of_one_bucket_and_its_place_is_found_again(
    sizes: list[int], buckets: int, batch: int, window: int, epoch: int
) -> None:
    shards, rows = world(sizes, buckets)
    order = Order(shards, 7, batch, window)
    batches = walk(order, rows, epoch)
    seen = [place for one in batches for place in one if place[0] >= 0]
    assert Counter(seen) == Counter((s, r) for s, size in enumerate(sizes) for r in range(size))
    now = order.epoch(epoch)
    for number, one in enumerate(batches):
        assert len(one) == batch
        assert len({int(rows[s].buckets[r]) for s, r in one if s >= 0}) == 1
        for slot, (s, r) in enumerate(one):
            if s >= 0:
                assert now.place(s, r, rows.__getitem__) == (number, slot)


def test_epochs_and_seeds_have_orders_of_their_own_and_the_same_is_always_the_same() -> None:
    shards, rows = world([100] * 5, 1)
    walks = {(seed, epoch): walk(Order(shards, seed, 10, 2), rows, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert len({str(one) for one in walks.values()}) == 4
    assert walk(Order(shards, 1, 10, 2), rows, 1) == walks[1, 1]


def test_only_the_shards_of_one_window_are_open_at_a_time() -> None:
    shards, rows = world([50] * 12, 1)
    order = Order(shards, 3, 10, 3)
    windows = [{s for s, _ in batch} for batch in walk(order, rows, 0)]
    opened = [sorted(set().union(*windows[i : i + 15])) for i in range(0, 60, 15)]
    assert [len(one) for one in opened] == [3, 3, 3, 3]
    assert sorted(s for one in opened for s in one) == list(range(12))


def test_a_window_is_mixed_and_not_read_shard_by_shard() -> None:
    shards, rows = world([400, 400], 1)
    first = [s for s, _ in walk(Order(shards, 5, 100, 2), rows, 0)[0]]
    assert 30 <= first.count(0) <= 70


def test_the_order_of_version_one_never_changes() -> None:
    """A checkpoint of years ago must give the same answer; these numbers were written down when version 1 was made."""
    assert mix(np.arange(3, dtype=np.uint64), 1).tolist() == EXPECTED_MIX
    shards = Shards(("a", "b"), np.array([[3], [2]], np.int64))
    rows = [
        Rows(np.arange(3, dtype=np.uint64), np.zeros(3, np.uint8)),
        Rows(np.arange(3, 5, dtype=np.uint64), np.zeros(2, np.uint8)),
    ]
    assert walk(Order(shards, 0, 5, 16), rows, 0) == [EXPECTED]


EXPECTED_MIX = [6238072747940578789, 15839785061582574730, 2185194620014831856]
EXPECTED = [(1, 1), (0, 1), (0, 2), (1, 0), (0, 0)]
