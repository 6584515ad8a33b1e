import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters.thinning import dropped_by_chains, thin

NONE = np.empty((0, 2), np.int64)


def thinned(
    rows: int, pairs: list[tuple[int, int]], *, rank: list[int] | None = None, alive: list[int] | None = None
) -> tuple[list[int], int]:
    living = np.isin(np.arange(rows), range(rows) if alive is None else alive)
    order = np.arange(rows) if rank is None else np.asarray(rank)
    ends = np.asarray(pairs, np.int64).reshape(-1, 2)
    found, _ = thin(ends, np.ones(len(ends), np.float32), same=np.arange(rows), rank=order, alive=living)
    return found.tolist(), dropped_by_chains(ends, same=np.arange(rows), rank=order, alive=living)


def test_of_two_near_ones_the_better_stays() -> None:
    assert thinned(2, [(0, 1)]) == ([-1, 0], 1)
    assert thinned(2, [(0, 1)], rank=[1, 0]) == ([1, -1], 1)


def test_a_chain_loses_every_second_one_and_not_all_but_its_head() -> None:
    chain = [(n, n + 1) for n in range(9)]
    dropped, by_chains = thinned(10, chain)
    assert dropped == [-1, 0, -1, 2, -1, 4, -1, 6, -1, 8]
    assert by_chains == 9


def test_rows_that_go_for_another_reason_take_nobody_along() -> None:
    assert thinned(3, [(0, 1), (1, 2)], alive=[1, 2]) == ([-1, -1, 1], 1)


def test_equal_vectors_share_their_pairs() -> None:
    same = np.array([0, 0, 2, 2])
    ends = np.array([[0, 2]])
    alive = np.array([False, True, True, True])
    found, cos = thin(ends, np.array([0.97], np.float32), same=same, rank=np.arange(4), alive=alive)
    assert found.tolist() == [-1, -1, 1, 1]
    assert cos[2:].tolist() == pytest.approx([0.97, 0.97])


def test_a_row_goes_for_the_nearest_kept_one() -> None:
    ends, cos = np.array([[0, 2], [1, 2]]), np.array([0.96, 0.98], np.float32)
    every = np.ones(3, np.bool_)
    found, by = thin(ends, cos, same=np.arange(3), rank=np.arange(3), alive=every)
    assert found.tolist() == [-1, -1, 1]
    assert by[2] == pytest.approx(0.98)


def test_without_pairs_all_stay() -> None:
    assert thinned(3, []) == ([-1, -1, -1], 0)


@given(st.integers(2, 14), st.data())
def test_whatever_goes_is_near_a_kept_one_and_kept_ones_are_near_no_other(rows: int, data: st.DataObject) -> None:
    every = [(a, b) for a in range(rows) for b in range(a + 1, rows)]
    pairs = data.draw(st.lists(st.sampled_from(every), unique=True))
    rank = data.draw(st.permutations(range(rows)))
    alive = data.draw(st.lists(st.integers(0, rows - 1), unique=True))
    dropped, by_chains = thinned(rows, pairs, rank=list(rank), alive=alive)
    kept = {row for row in alive if dropped[row] < 0}
    near: NDArray[np.bool_] = np.zeros((rows, rows), np.bool_)
    for one, two in pairs:
        near[one, two] = near[two, one] = True
    assert all(near[row, of] and of in kept for row, of in enumerate(dropped) if of >= 0)
    assert not any(near[a, b] for a in kept for b in kept)
    assert sum(of >= 0 for of in dropped) <= by_chains
    order = data.draw(st.permutations(range(rows)))  # row n becomes order[n]
    moved, _ = thinned(
        rows,
        [(order[a], order[b]) for a, b in pairs],
        rank=[rank[order.index(n)] for n in range(rows)],
        alive=[order[row] for row in alive],
    )
    assert [moved[order[n]] for n in range(rows)] == [of if of < 0 else order[of] for of in dropped]
