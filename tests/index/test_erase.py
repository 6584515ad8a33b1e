"""Nothing of an erased sample is in any file of any index, whatever the kind, and whatever stopped the erasure."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index import segments
from index.build import build
from index.check import check
from index.erase import JOURNAL, erase
from index.opened import Opened
from index.record import read_record
from index.sync import sync
from pipeline.errors import FormatError
from pipeline.ids import faiss_id
from pipeline.snapshot import numbers, read
from pipeline.store import Store
from tests.erasing import copy
from tests.index.test_build import recall
from tests.made_set import KINDS, Shard, blank, publish_set, shards, small_kinds

ROWS = 1_600
Fresh = Callable[..., Store]


@pytest.fixture(scope="session")
def made() -> list[Shard]:
    return shards(ROWS, 4)


@pytest.fixture(scope="session")
def more() -> list[Shard]:
    return shards(80, 2, seed=3)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, made: list[Shard], more: list[Shard]) -> dict[str, Path]:
    """Of each kind a data set of two snapshots: the second has more rows, and misses some that its index carries along."""
    base = tmp_path_factory.mktemp("erased")
    with pytest.MonkeyPatch.context() as patch:
        small_kinds(patch)
        for kind, options in KINDS.items():
            store = Store.open_url(str(base / kind))
            small_kinds(patch, 10**6 if kind == "exact" else 500)
            build(store, publish_set(store, made), options)
            sync(store, publish_set(store, [*made[:3], made[3].without(made[3].uids[:20]), *more]))
    return {kind: base / kind for kind in KINDS}


@pytest.fixture
def fresh(built: dict[str, Path], tmp_path: Path) -> Fresh:
    return lambda kind, name="set": copy(built[kind], tmp_path / name)


def some(made: list[Shard], more: list[Shard]) -> list[bytes]:
    """Return uids from the first and the last row of a shard, of both snapshots, of the first only, of the second only."""
    return [made[0].uids[0], made[0].uids[1], made[1].uids[-1], made[3].uids[3], made[3].uids[30], more[1].uids[5]]


def tree(store: Store) -> dict[str, str]:
    names = [name for name in store.walk() if name.startswith("index/")]
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in names}


def codes(store: Store, ids: Sequence[int]) -> set[bytes]:
    """Return the codes of ids in all segments of kinds whose codes lie in the file one after the other."""
    found = set()
    for name in store.walk():
        if name.endswith(".faiss"):
            path = store.local(name)
            assert path is not None
            index: Any = segments.read(path)
            if isinstance(index, faiss.IndexIVF) and not isinstance(index, faiss.IndexIVFFastScan):
                lists: Any = index.invlists
                for number, rows in segments.held(index, np.array(ids)):
                    size, width = lists.list_size(number), lists.code_size
                    block = faiss.rev_swig_ptr(lists.get_codes(number), size * width).reshape(size, width)
                    found |= {block[row].tobytes() for row in rows}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_it_is_left_and_the_others_are_found_as_before(
    fresh: Fresh, kind: str, made: list[Shard], more: list[Shard]
) -> None:
    store = fresh(kind)
    gone = some(made, more)
    ids = [faiss_id(uid) for uid in gone]
    vectors = np.concatenate([made[0].image[:2], made[1].image[-1:], made[3].image[[3, 30]], more[1].image[5:6]])
    traces = codes(store, ids) | {id_.to_bytes(8, "little") for id_ in ids}
    traces |= {f"/{uid.hex()}.jpg".encode() for uid in gone} | {
        f"a picture called {uid.hex()[:6]}".encode() for uid in gone
    }
    traces |= {vector.tobytes() for vector in vectors} | {vector.astype(np.float32).tobytes() for vector in vectors}

    def left() -> set[bytes]:
        files = [store.read(name) for name in store.walk() if name.startswith("index/")]
        return {trace for trace in traces if any(trace in data for data in files)}

    assert len(left()) >= 3 * len(gone)
    blank(store, gone)
    names = erase(store, frozenset(gone))
    assert left() == set()
    assert "index/000001/places.npy" in names
    assert "index/000002/index.json" in names
    for number, rows in ((1, ROWS - 5), (2, ROWS - 20 + 80 - 5)):
        opened = Opened(store, read(store, number))
        assert opened.rows == rows
        for one in opened.near(vectors.astype(np.float32), 400):
            assert len(one.ids) == 400
            assert not np.isin(one.ids, ids).any()
        assert check(store, read(store, number)).problems == []
    living = [*made[:3], made[3].without(made[3].uids[:20]), *more]
    living = [shard.without(gone) for shard in living]
    assert recall(opened, living, made[2].image[:100]) > 0.84


@pytest.mark.parametrize("kind", KINDS)
def test_erasing_again_changes_nothing_and_order_and_grouping_make_no_difference(
    fresh: Fresh, kind: str, made: list[Shard], more: list[Shard]
) -> None:
    one, two = fresh(kind, "one"), fresh(kind, "two")
    gone = some(made, more)
    names = erase(one, frozenset(gone))
    trees = tree(one)
    assert erase(one, frozenset(gone)) == names
    assert tree(one) == trees
    told: set[str] = set()
    for group in (gone[4:], gone[:1], gone[1:4]):
        told |= set(erase(two, frozenset(group)))
    assert tree(two) == trees
    assert told == set(names)
    assert erase(one, frozenset([b"\1" * 16])) == []


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[int]]:
    """Raise before the change of that number: of a file's name, or of bytes inside one."""
    done: list[int] = []
    with monkeypatch.context() as patch:
        for owner, name in ((Store, "put"), (Store, "write"), (Store, "copy"), (segments.FileWriter, "write")):
            real: Any = getattr(owner, name)

            def stopped(self: Any, *args: Any, real: Any = real) -> Any:
                if len(done) == at:
                    raise KeyboardInterrupt
                done.append(at)
                return real(self, *args)

            patch.setattr(owner, name, stopped)
        yield done


@pytest.mark.parametrize("kind", ["exact", "fast scan", pytest.param("bits on disk", marks=pytest.mark.slow)])
def test_stopped_before_any_of_its_writes_it_ends_as_if_nothing_had_been(
    fresh: Fresh, kind: str, made: list[Shard], more: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, gone = fresh(kind, "undisturbed"), frozenset(some(made, more))
    with stopping(monkeypatch, 10**9) as done:
        names = erase(undisturbed, gone)
    expected, total = tree(undisturbed), len(done)
    assert total > 8
    for at in range(0, total, 1 if total < 20 else 3):
        store = fresh(kind, f"stop{at}")
        with stopping(monkeypatch, at), pytest.raises(KeyboardInterrupt):
            erase(store, gone)
        for number in numbers(store):  # who searches meanwhile gets answers
            assert len(Opened(store, read(store, number)).near(made[2].image[:3].astype(np.float32), 5)[0].ids) == 5
        assert erase(store, gone) == names
        assert tree(store) == expected
        assert not store.exists(JOURNAL)


def test_what_snapshots_share_stays_shared(fresh: Fresh, made: list[Shard], more: list[Shard]) -> None:
    store = fresh("bits on disk")
    shared = [name for name in tree(store) if name.startswith("index/000001/") and name.endswith((".arrow", ".faiss"))]
    before = {name: Path(store.root, name).stat().st_nlink for name in shared}
    erase(store, frozenset(some(made, more)))
    assert {name: Path(store.root, name).stat().st_nlink for name in shared} == before
    assert max(before.values()) == 2


def test_who_has_it_open_goes_on_and_a_new_look_does_not_know_the_erased(
    fresh: Fresh, made: list[Shard], more: list[Shard]
) -> None:
    store = fresh("bits on disk")
    opened = Opened(store, read(store, 2))
    gone = some(made, more)
    erase(store, frozenset(gone))
    assert not opened.current()
    assert len(opened.near(made[2].image[:5].astype(np.float32), 10)) == 5
    assert not Opened(store, read(store, 2)).having(np.array([faiss_id(uid) for uid in gone])).any()


def test_a_whole_data_set_can_be_erased_and_indexes_that_are_none_go(
    fresh: Fresh, made: list[Shard], more: list[Shard]
) -> None:
    store = fresh("fast scan")
    everybody = frozenset(uid for shard in (*made, *more) for uid in shard.uids)
    store.delete("index/000001/index.json")
    blank(store, everybody)
    erase(store, everybody)
    assert not [name for name in tree(store) if name.startswith("index/000001")]
    opened = Opened(store, read(store, 2))
    assert opened.rows == 0
    assert len(opened.near(made[0].image[:1].astype(np.float32), 10)[0].ids) == 0
    assert opened.facts(np.empty(0, np.int64)).num_rows == 0
    assert check(store, read(store, 2)).problems == []


@pytest.mark.parametrize("kind", ["exact", "bits on disk"])
def test_on_an_object_store_the_same_is_done(
    fresh: Fresh, kind: str, made: list[Shard], more: list[Shard], s3_endpoint: str, tmp_path: Path
) -> None:
    local, gone = fresh(kind), frozenset(some(made, more))
    remote = Store.open_url(f"s3://sets/{tmp_path.name}")
    for name in local.walk():
        remote.write(name, local.read(name))
    assert erase(remote, gone) == erase(local, gone)
    assert tree(remote) == tree(local)


def test_the_record_counts_what_is_wiped_and_remembers_whom_it_held(
    fresh: Fresh, made: list[Shard], more: list[Shard]
) -> None:
    store = fresh("bits on disk")
    gone = some(made, more)
    erase(store, frozenset(gone))
    one, two = (read_record(store, read(store, number)) for number in (1, 2))
    assert one is not None
    assert two is not None
    assert [(s.rows, s.wiped) for s in one.sides["text"].segments] == [(ROWS, 5)]
    assert [(s.rows, s.wiped) for s in two.sides["text"].segments] == [(ROWS, 5), (80, 1)]
    assert {uid for group in one.erased for uid in group.uids} == {uid.hex() for uid in gone[:5]}
    assert {uid for group in two.erased for uid in group.uids} == {
        uid.hex() for uid in gone
    }  # the base was carried along


@pytest.mark.parametrize("name", ["index.json", "places.npy", "text/", "facts/"])
def test_a_damaged_index_does_not_hold_up_an_erasure_and_is_removed(
    fresh: Fresh, made: list[Shard], more: list[Shard], name: str
) -> None:
    store = fresh("bits on disk")
    path = next(
        one for one in sorted(Path(store.root, "index/000001").rglob("*")) if name in str(one) and one.is_file()
    )
    data = path.read_bytes()
    path.unlink()  # its other name, in the second snapshot's index, keeps its bytes
    path.write_bytes(data[: len(data) // 2])
    gone = frozenset(some(made, more))
    assert all(held.startswith("index/000002/") for held in erase(store, gone))
    assert not [left for left in tree(store) if left.startswith("index/000001/")]
    assert not Opened(store, read(store, 2)).having(np.array([faiss_id(uid) for uid in gone])).any()


def test_an_erasure_that_was_stopped_goes_on_after_a_build_with_other_files(
    fresh: Fresh, made: list[Shard], more: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, gone = fresh("bits on disk"), frozenset(some(made, more))
    small_kinds(monkeypatch)
    blank(store, gone)
    with stopping(monkeypatch, 2), pytest.raises(KeyboardInterrupt):
        erase(store, gone)
    assert store.exists(JOURNAL)
    build(store, read(store, 2), KINDS["fast scan"])
    erase(store, gone)
    assert not store.exists(JOURNAL)
    assert not Opened(store, read(store, 2)).having(np.array([faiss_id(uid) for uid in gone])).any()
    assert check(store, read(store, 2)).problems == []
    store.write(JOURNAL, b"{")
    with pytest.raises(FormatError, match="not a journal; delete it and erase again"):
        erase(store, gone)
