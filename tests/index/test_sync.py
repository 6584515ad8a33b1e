"""An index in step with its snapshot: what is found is what a build of the whole finds, at the cost of what changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.build import build
from index.opened import Opened
from index.ranking import exactly
from index.record import IndexRecord, Options, read_record
from index.sync import sync
from pipeline.errors import FormatError
from pipeline.snapshot import Snapshot, read, require_latest
from pipeline.store import Store
from tests.erasing import copy
from tests.index.test_build import recall, stopping
from tests.made_set import KINDS, Shard, publish_set, shards, small_kinds

ROWS = 2_400


@pytest.fixture(scope="session")
def made() -> list[Shard]:
    return shards(ROWS, 6)


@pytest.fixture(scope="session")
def more() -> list[Shard]:
    return shards(240, 4, seed=3)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, made: list[Shard]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("synced")
    kinds = ("bits on disk", "whole vectors")
    with pytest.MonkeyPatch.context() as patch:
        small_kinds(patch)
        for kind in kinds:
            store = Store.open_url(str(folder / kind))
            build(store, publish_set(store, made), KINDS[kind])
    return {kind: folder / kind for kind in kinds}


@pytest.fixture
def store(tmp_path: Path, built: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    small_kinds(monkeypatch)
    return copy(built["bits on disk"], tmp_path / "set")


@pytest.fixture(params=["bits on disk", "whole vectors"])
def each_kind(
    tmp_path: Path, built: dict[str, Path], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Store:
    small_kinds(monkeypatch)
    return copy(built[request.param], tmp_path / "set")


def names(record: IndexRecord) -> list[tuple[str, int]]:
    return [(one.name.partition("/")[2], one.rows) for one in record.sides["image"].segments]


def carried(store: Store, snapshot: Snapshot, name: str) -> bool:
    """Tell whether a file of an index is the very file of the one before."""
    new, old = (store.local(f"index/{number:06d}/{name}") for number in (snapshot.number, snapshot.number - 1))
    assert new is not None
    assert old is not None
    return old.exists() and new.stat().st_ino == old.stat().st_ino


def test_added_rows_are_found_and_only_they_are_written(store: Store, made: list[Shard], more: list[Shard]) -> None:
    snapshot = publish_set(store, [*made, *more[:1]])
    record = sync(store, snapshot)
    (_, rows), added = names(record)
    assert (rows, added) == (ROWS, ("000002-added.faiss", 60))
    assert record.rows == ROWS + 60
    fresh = f"facts/{more[0].key}.arrow"
    written = {name for name in record.sha256 if not carried(store, snapshot, name)}
    assert written == {"places.npy", fresh, "image/000002-added.faiss", "text/000002-added.faiss"}
    opened = Opened(store, snapshot)
    for modality in ("image", "text"):
        vectors = getattr(more[0], modality).astype(np.float32)
        found = opened.near(vectors, 3, modality=modality)
        assert [one.ids[0] for one in found] == more[0].ids.tolist()
    assert opened.facts(more[0].ids[:1])["key"].to_pylist() == [more[0].uids[0].hex()]
    assert recall(opened, [*made, more[0]], more[1].image) > 0.84


def test_removed_rows_are_never_found_and_take_nobodys_place(each_kind: Store, made: list[Shard]) -> None:
    store = each_kind
    gone = made[2].uids[:50]
    snapshot = publish_set(store, [*made[:2], made[2].without(gone), *made[3:]])
    record = sync(store, snapshot)
    assert names(record) == names(
        read_record(store, read(store, 1)) or record
    )  # the other rows of that shard are in already
    opened = Opened(store, snapshot)
    assert not opened.having(made[2].ids[:50]).any()
    for one in opened.near(made[2].image[:50].astype(np.float32), 100):
        assert len(one.ids) == len(set(one.ids.tolist())) == 100
        assert not np.isin(one.ids, made[2].ids[:50]).any()
    assert len(opened.near(made[2].image[:1].astype(np.float32), ROWS)[0].ids) == ROWS - 50


def test_a_row_whose_vectors_changed_is_found_by_the_new_ones(
    each_kind: Store, made: list[Shard], more: list[Shard]
) -> None:
    store = each_kind
    image = made[4].image.copy()
    image[:5] = more[0].image[:5]
    changed = Shard(made[4].uids, image, made[4].text)
    record = sync(store, publish_set(store, [*made[:4], changed, *made[5:]]))
    assert names(record)[1] == ("000002-added.faiss", 5)
    opened = Opened(store, require_latest(store))
    found = opened.near(more[0].image[:5].astype(np.float32), 1)
    assert [one.ids[0] for one in found] == made[4].ids[:5].tolist()
    for row, one in enumerate(opened.near(made[4].image[:5].astype(np.float32), 20)):
        assert made[4].ids[row] not in one.ids[:1]
        stored = np.vecdot(opened.vectors(one.ids), made[4].image[row].astype(np.float32))
        np.testing.assert_allclose(one.cos, stored, atol=1e-5)  # the old vector, still in the base, says 1
        assert len(set(one.ids.tolist())) == 20


def test_old_vectors_of_many_changed_rows_crowd_nobody_out(
    tmp_path: Path, made: list[Shard], more: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A placeholder's pictures, all alike, are fetched again as what they are: the base still holds the old vectors."""
    small_kinds(monkeypatch)
    alike = made[4].image.copy()
    alike[:30] = alike[0]
    before = Shard(made[4].uids, alike, made[4].text)
    changed = alike.copy()
    changed[:30] = more[0].image[:30]
    after = Shard(made[4].uids, changed, made[4].text)
    store = Store.open_url(str(tmp_path / "set"))
    build(store, publish_set(store, [*made[:4], before, *made[5:]]), KINDS["whole vectors"])
    record = sync(store, publish_set(store, [*made[:4], after, *made[5:]]))
    assert names(record)[1] == ("000002-added.faiss", 30)
    opened = Opened(store, require_latest(store))
    everyone = [*made[:4], after, *made[5:]]
    right, cos = exactly(
        [one.image for one in everyone], [one.ids for one in everyone], alike[:1].astype(np.float32), 10
    )
    (found,) = opened.near(alike[:1].astype(np.float32), 10)
    assert len(set(found.ids.tolist()) & set(right[0].tolist())) >= 9
    np.testing.assert_allclose(found.cos[:5], cos[0, :5], atol=1e-3)


def test_a_code_that_no_vector_has_is_told_of_and_not_shown(
    tmp_path: Path, built: dict[str, Path], monkeypatch: pytest.MonkeyPatch, made: list[Shard]
) -> None:
    small_kinds(monkeypatch)
    store = copy(built["whole vectors"], tmp_path / "set")
    (path,) = Path(store.root, "index").rglob("image/*.faiss")
    data, code = bytearray(path.read_bytes()), made[0].image[0].tobytes()
    at = data.find(code)
    assert at > 0
    largest = 2 * int(np.argmax(np.abs(made[0].image[0])))
    data[at + largest : at + largest + 2] = np.float16(np.sign(made[0].image[0, largest // 2]) * 20_000).tobytes()
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        Opened(store, require_latest(store)).near(made[0].image[:1].astype(np.float32), 3)


def test_what_increments_find_is_what_a_build_of_the_whole_finds_whatever_their_order(
    store: Store, made: list[Shard], more: list[Shard], tmp_path: Path
) -> None:
    other = Store.open_url(str(tmp_path / "other"))
    whole = Store.open_url(str(tmp_path / "whole"))
    gone = made[1].uids[10:20]
    last = [*made[:1], made[1].without(gone), *made[2:], *more]
    for at in range(4):
        sync(store, publish_set(store, [*made, *more[: at + 1]]))
    sync(store, publish_set(store, last))
    build(other, publish_set(other, [*last[:6], more[3]]), KINDS["bits on disk"])
    for few in ([more[1]], [more[1], more[0]], more[:2] + more[2:]):
        sync(other, publish_set(other, [*last[:6], more[3], *(one for one in few if one is not more[3])]))
    build(whole, publish_set(whole, last), KINDS["bits on disk"])
    questions = shards(100, 1, seed=8)[0].image
    opened = [Opened(one, require_latest(one)) for one in (store, other, whole)]
    assert len({one.rows for one in opened}) == 1
    every = [
        {tuple(ids) for ids in (np.sort(one.near(q[None], one.rows)[0].ids) for q in questions[:2].astype(np.float32))}
        for one in opened
    ]
    assert every[0] == every[1] == every[2]
    assert all(recall(one, last, questions) > 0.84 for one in opened)


def test_many_small_additions_become_one(store: Store, made: list[Shard]) -> None:
    extra = [shards(10, 1, seed=20 + n)[0] for n in range(6)]
    for n in range(6):
        record = sync(store, publish_set(store, [*made, *extra[: n + 1]]))
        assert len(record.sides["image"].segments) <= 5
    assert [rows for _, rows in names(record)] == [ROWS, 50, 10]
    opened = Opened(store, require_latest(store))
    for one in extra:
        assert [found.ids[0] for found in opened.near(one.image.astype(np.float32), 1)] == one.ids.tolist()


def test_too_many_changes_and_another_encoder_mean_a_build(store: Store, made: list[Shard]) -> None:
    big = shards(600, 1, seed=6)
    record = sync(store, publish_set(store, [*made, *big]))
    assert [rows for _, rows in names(record)] == [3_000]
    record = sync(store, publish_set(store, made[:4]))
    assert [rows for _, rows in names(record)] == [1_600]
    assert record.options == KINDS["bits on disk"]  # what was asked for is asked again


def test_nothing_changed_does_nothing_and_other_options_build(
    store: Store, made: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(store, require_latest(store))
    with stopping(monkeypatch, 0):
        assert sync(store, require_latest(store)) == record
    assert "SQfp16" in sync(store, require_latest(store), Options(recall_frac=0.995)).kind


def test_an_exact_index_is_written_anew_the_same_bytes_as_a_build(
    tmp_path: Path, made: list[Shard], more: list[Shard]
) -> None:
    one, two = (Store.open_url(str(tmp_path / name)) for name in ("one", "two"))
    sync(one, publish_set(one, made))
    publish_set(two, made)
    ours = sync(one, publish_set(one, [*made, *more]))
    theirs = build(two, publish_set(two, [*made, *more]))
    assert ours == theirs
    assert all(one.read(f"index/000002/{name}") == two.read(f"index/000002/{name}") for name in ours.sha256)


def test_a_sync_that_is_stopped_before_any_of_its_writes_leaves_the_old_index_working(
    store: Store, made: list[Shard], more: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = publish_set(store, [*made[1:], *more])
    old, at = read(store, 1), 0
    while True:
        with stopping(monkeypatch, at):
            try:
                record = sync(store, snapshot)
                break
            except KeyboardInterrupt:
                assert read_record(store, snapshot) is None
                Opened(store, old).close()
        at += 1
    assert at > 10
    assert record.rows == ROWS - 400 + 240
    assert recall(Opened(store, snapshot), [*made[1:], *more], more[0].image) > 0.84


def test_without_the_old_vectors_changed_shards_are_added_whole_and_found_once(
    store: Store, made: list[Shard], more: list[Shard]
) -> None:
    sync(store, publish_set(store, [*made, more[0]]))
    snapshot = publish_set(store, [*made, more[0].without(more[0].uids[:5])])
    store.delete_folder("embeddings/000002")
    record = sync(store, snapshot)
    assert [rows for _, rows in names(record)] == [ROWS, 60, 55]
    for one in Opened(store, snapshot).near(more[0].image[5:].astype(np.float32), 50):
        assert len(set(one.ids.tolist())) == 50


def test_on_an_object_store_the_same_is_done(
    s3_endpoint: str, tmp_path: Path, made: list[Shard], more: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_kinds(monkeypatch)
    store = Store.open_url(f"s3://sets/{tmp_path.name}")
    build(store, publish_set(store, made), KINDS["bits on disk"])
    snapshot = publish_set(store, [*made, *more[:1]])
    assert [rows for _, rows in names(sync(store, snapshot))] == [ROWS, 60]
    opened = Opened(store, snapshot)
    assert [one.ids[0] for one in opened.near(more[0].image.astype(np.float32), 1)] == more[0].ids.tolist()
    copies: Any = opened._files._folder
    assert copies.exists()
    opened.close()
    assert not copies.exists()  # what is erased later must not live on in a cache
