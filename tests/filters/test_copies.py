import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.copies import groups, policy_rank, representatives

Row = tuple[int, int | None, int | None, float | None, bool | None]  # uid, group, px, clip_cos, eligible


def split(
    rows: int, pairs: list[tuple[int, int]], **more: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> list[int]:
    found: list[int] = groups(rows, np.asarray(pairs, np.int64).reshape(-1, 2), **more).tolist()
    return found


def test_rows_without_verified_copies_are_in_no_group() -> None:
    assert split(3, []) == [-1, -1, -1]
    assert split(3, [(2, 2)]) == [-1, -1, -1]
    assert split(0, []) == []


def test_a_pair_is_a_group_named_by_one_of_its_rows() -> None:
    assert split(4, [(3, 1)]) == [-1, 1, -1, 1]


def test_a_chain_is_cut_where_members_do_not_know_the_centre() -> None:
    # 0-1-2-3-4: 1, 2 and 3 are equally connected, the first is the centre, 3 and 4 are left to each other
    assert split(5, [(0, 1), (1, 2), (2, 3), (3, 4)]) == [1, 1, 1, 3, 3]


def test_the_best_connected_row_is_the_centre() -> None:
    assert split(6, [(0, 1), (5, 1), (5, 2), (5, 3), (5, 4)]) == [-1, 5, 5, 5, 5, 5]


def test_equal_bytes_stay_together_through_any_chain() -> None:
    exact = np.array([(0, 1), (2, 1), (2, 3)])
    assert split(5, [], exact=exact) == [0, 0, 0, 0, -1]
    # the class of four goes as a whole into the star of 4, whose other members only it knows
    assert len(set(split(7, [(3, 4), (4, 5), (4, 6)], exact=exact))) == 1


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]], list[int]]:
    rows = draw(st.integers(1, 14))
    edge = st.tuples(st.integers(0, rows - 1), st.integers(0, rows - 1))
    return rows, draw(st.lists(edge, max_size=30)), draw(st.lists(edge, max_size=4)), draw(st.permutations(range(rows)))


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_every_member_is_verified_against_the_centre_and_no_order_matters(
    graph: tuple[int, list[tuple[int, int]], list[tuple[int, int]], list[int]],
) -> None:
    rows, pairs, exact, order = graph
    found = split(rows, pairs, exact=np.asarray(exact, np.int64).reshape(-1, 2))
    root = list(range(rows))
    for one, two in exact:
        root = [root[one] if r == root[two] else r for r in root]
    linked = {frozenset((root[a], root[b])) for a, b in pairs}
    for row, centre in enumerate(found):
        if centre >= 0:
            assert found[centre] == centre
            assert root[row] == root[centre] or frozenset((root[row], root[centre])) in linked
            assert found.count(centre) > 1
    # a row with a verified copy is alone only if every copy of it belongs to a group
    assert all(found[a] >= 0 or found[b] >= 0 for a, b in pairs if root[a] != root[b])
    place = np.argsort(order)  # row r moves to place[r]
    moved = split(
        rows,
        [(int(place[b]), int(place[a])) for a, b in reversed(pairs)],
        exact=np.asarray([(place[b], place[a]) for a, b in exact], np.int64).reshape(-1, 2),
        rank=np.asarray(order, np.int64),
    )
    assert [order[g] if g >= 0 else -1 for g in (moved[place[row]] for row in range(rows))] == found


def uid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def table(rows: list[Row]) -> pa.Table:
    number, group, px, cosine, eligible = zip(*rows, strict=True)
    return pa.table(
        {
            "uid": pa.array([uid(n) for n in number], pa.binary(16)),
            "group": pa.array(group, pa.int64()),
            "px": pa.array(px, pa.int64()),
            "clip_cos": pa.array(cosine, pa.float32()),
            "eligible": pa.array(eligible, pa.bool_()),
        }
    )


def kept(rows: list[Row]) -> list[int | None]:
    found = representatives(table(rows))
    assert found["uid"].to_pylist() == [uid(row[0]) for row in rows]
    return [None if k is None else int.from_bytes(k, "big") for k in found["kept"].to_pylist()]


def test_most_pixels_win_then_the_cosine_then_the_smallest_uid() -> None:
    assert kept([(1, 0, 100, 0.9, True), (2, 0, 200, 0.1, True)]) == [2, 2]
    assert kept([(1, 0, 100, 0.1, True), (2, 0, 100, 0.2, True)]) == [2, 2]
    assert kept([(2, 0, 100, 0.2, True), (1, 0, 100, 0.2, True)]) == [1, 1]


def test_missing_and_nan_values_lose_to_any_other() -> None:
    assert kept([(1, 0, None, 0.9, True), (2, 0, 1, 0.1, True)]) == [2, 2]
    assert kept([(1, 0, 9, None, True), (2, 0, 9, -0.5, True)]) == [2, 2]
    assert kept([(1, 0, 9, float("nan"), True), (2, 0, 9, -0.5, True)]) == [2, 2]


def test_a_member_that_is_dropped_for_another_reason_does_not_stand_for_the_group() -> None:
    assert kept([(1, 0, 900, 0.9, False), (2, 0, 100, 0.1, True), (3, 0, 900, 0.9, None)]) == [2, 2, 2]
    assert kept([(1, 0, 900, 0.9, False), (2, 0, 100, 0.1, None)]) == [None, None]


def test_rows_without_copies_stand_for_themselves() -> None:
    assert kept([(1, None, 9, 0.1, True), (2, -1, 9, 0.1, True), (3, None, 9, 0.1, False), (4, 0, 9, 0.1, True)]) == [
        1,
        2,
        None,
        4,
    ]


def test_an_empty_table_has_no_representatives() -> None:
    empty = table([(1, 0, 1, 0.1, True)]).slice(0, 0)
    assert representatives(empty).num_rows == 0


def test_the_choice_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    rows: list[Row] = [
        (n, int(rng.integers(0, 5)), int(rng.integers(0, 3)), float(rng.integers(0, 2)), bool(rng.random() < 0.8))
        for n in range(40)
    ]
    expected = dict(zip([r[0] for r in rows], kept(rows), strict=True))
    shuffled = [rows[i] for i in rng.permutation(40)]
    assert dict(zip([r[0] for r in shuffled], kept(shuffled), strict=True)) == expected


def test_ranks_are_a_permutation_with_the_kept_first() -> None:
    found = policy_rank(pa.array([uid(3), uid(1), uid(2)]), np.array([5.0, np.nan, 5.0]), np.array([0.1, 0.9, 0.1]))
    assert found.tolist() == [1, 2, 0]
