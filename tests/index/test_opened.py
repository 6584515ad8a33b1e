"""An opened index answers by id, from mapped files, for several threads at once, and says clearly what is damaged."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.build import build
from index.conditions import Condition
from index.opened import Opened
from index.ranking import NARROW_ROWS
from pipeline.errors import FormatError, InvariantError, TamisError
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.erasing import copy
from tests.made_set import KINDS, Shard, publish_set, shards, small_kinds

ROWS = 1_600


@pytest.fixture(scope="session")
def made() -> list[Shard]:
    return shards(ROWS, 8)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, made: list[Shard]) -> Store:
    store = Store.open_url(str(tmp_path_factory.mktemp("opened") / "set"))
    with pytest.MonkeyPatch.context() as patch:
        small_kinds(patch)
        build(store, publish_set(store, made), KINDS["fast scan"])
    return store


@pytest.fixture(scope="session")
def opened(built: Store) -> Opened:
    return Opened(built, require_latest(built))


def ids_of(made: list[Shard]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([shard.ids for shard in made])


def test_facts_and_vectors_come_in_the_order_asked_for(opened: Opened, made: list[Shard]) -> None:
    rng = np.random.default_rng(0)
    at = rng.permutation(ROWS)[:100]
    ids = ids_of(made)[at]
    keys = [uid.hex() for shard in made for uid in shard.uids]
    rows = opened.facts(ids).to_pylist()
    assert [row["key"] for row in rows] == [keys[n] for n in at]
    assert [row["id"] for row in rows] == ids.tolist()
    assert [row["shard"] for row in rows] == [n // 200 for n in at]
    assert all(row["url"].endswith(f"/{row['key']}.jpg") for row in rows)
    assert opened.facts(ids[:3], ["shard", "width", "id"]).column_names == ["shard", "width", "id"]
    assert opened.facts(ids[:3], ["id"])["id"].to_pylist() == ids[:3].tolist()
    assert opened.facts(ids[:0]).num_rows == 0
    for modality in ("image", "text"):
        stored = np.concatenate([getattr(shard, modality) for shard in made])[at]
        assert np.array_equal(opened.vectors(ids, modality), stored.astype(np.float32))


def test_an_id_that_is_not_here_is_no_row(opened: Opened, made: list[Shard]) -> None:
    strange = np.array([1, 2**62], np.int64)
    assert opened.having(strange).tolist() == [False, False]
    assert opened.having(np.array([*made[0].ids[:1], 1])).tolist() == [True, False]
    for ask in (opened.facts, opened.vectors):
        with pytest.raises(InvariantError, match="asked for a row that it does not hold"):
            ask(strange)
    (found,) = opened.near(
        made[0].image[:1].astype(np.float32), 5, among=opened.chosen(np.sort(np.append(made[0].ids[:3], 1)))
    )
    assert sorted(found.ids.tolist()) == sorted(made[0].ids[:3].tolist())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_among_chosen_ids_the_nearest_of_them_are_found(
    opened: Opened, made: list[Shard], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if share > 0.1:  # through the index, as for more than twenty thousand
        monkeypatch.setattr("index.ranking.NARROW_ROWS", 100)
    assert NARROW_ROWS > ROWS
    among = np.sort(np.random.default_rng(1).permutation(ids_of(made))[: int(share * ROWS)])
    questions = made[3].image[:40].astype(np.float32)
    vectors = opened.vectors(among)
    hits = []
    for question, found in zip(questions, opened.near(questions, 10, among=opened.chosen(among)), strict=True):
        assert np.isin(found.ids, among).all()
        assert len(found.ids) == 10
        right = among[np.argsort(-(vectors @ question))[:10]]
        hits.append(len(set(right.tolist()) & set(found.ids.tolist())) / 10)
    assert np.mean(hits) >= (1.0 if share < 0.1 else 0.9)
    assert len(opened.near(questions[:1], 10**6, among=opened.chosen(among))[0].ids) == len(among)
    assert len(opened.near(questions[:1], 5, among=opened.chosen(among[:0]))[0].ids) == 0


def test_more_than_there_is_gives_all_there_is_once(opened: Opened, made: list[Shard]) -> None:
    for modality in ("image", "text"):
        (found,) = opened.near(made[0].text[:1].astype(np.float32), 10**5, modality=modality)
        assert sorted(found.ids.tolist()) == sorted(ids_of(made).tolist())
    assert opened.near(np.empty((0, 32), np.float32), 5) == []


def test_conditions_find_the_ids_of_their_rows(opened: Opened, made: list[Shard]) -> None:
    key = made[5].uids[7].hex()
    for condition in (Condition("key", "=", key), Condition("url", "~", key)):
        assert opened.matching([condition]).tolist() == [made[5].ids[7]]
    assert opened.matching([Condition("key", "=", key), Condition("width", "<", 0)]).tolist() == []
    assert opened.matching([Condition("key", "=", "none of that form")]).tolist() == []
    wide = opened.matching([Condition("width", ">=", 400)])
    assert np.array_equal(wide, np.sort(wide))
    assert min(opened.facts(wide, ["width"])["width"].to_pylist()) >= 400
    assert len(wide) + len(opened.matching([Condition("width", "<", 400)])) == ROWS


def test_many_threads_get_the_answers_one_gets(opened: Opened, made: list[Shard]) -> None:
    questions = np.concatenate([shard.text[:20] for shard in made]).astype(np.float32)
    right = [one.ids.tolist() for one in opened.near(questions, 10)]
    start = threading.Barrier(4)

    def ask(thread: int) -> bool:
        start.wait()
        order = np.random.default_rng(thread).permutation(len(questions))
        found = [opened.near(questions[n][None], 10)[0].ids for n in order]
        return all(right[n] == ids.tolist() for n, ids in zip(order, found, strict=True)) and all(
            opened.facts(ids, ["id"])["id"].to_pylist() == ids.tolist() for ids in found
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


def test_opening_needs_no_descriptor_and_closing_gives_the_mappings_back(built: Store, made: list[Shard]) -> None:
    def mapped() -> int:
        return sum(built.root in line for line in Path("/proc/self/maps").read_text().splitlines())

    def descriptors() -> int:
        return sum(
            str(one.readlink()).startswith(built.root) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()
        )

    before = mapped()
    opened = Opened(built, require_latest(built))
    opened.facts(ids_of(made), ["id"])
    opened.near(made[0].image[:5].astype(np.float32), 5)
    assert mapped() > before
    assert descriptors() == 0
    opened.close()
    del opened
    assert mapped() == before


@pytest.mark.parametrize("name", ["places.npy", "image/", "facts/", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(
    built: Store, made: list[Shard], name: str, damage: str, tmp_path: Path
) -> None:
    store = copy(Path(built.root), tmp_path / "set")
    path = next(
        one for one in sorted(Path(store.root, "index/000001").rglob("*")) if one.is_file() and name in str(one)
    )
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[: len(data) // 2 + 1] if damage == "cut" else bytes(1000) + data[1000:])

    def use() -> None:
        opened = Opened(store, require_latest(store))
        opened.near(made[0].image[:2].astype(np.float32), 5)
        opened.facts(ids_of(made))

    with pytest.raises(TamisError, match=r"`tamis (index (build|sync|verify)( \S+)?|verify)`"):
        use()


def _exchanged(places: NDArray[np.int64]) -> None:
    places[1, [3, 4]] = places[1, [4, 3]]


def _elsewhere(places: NDArray[np.int64]) -> None:
    places[1] += 1 << 40


def _too_far(places: NDArray[np.int64]) -> None:
    places[1] += 1 << 20


@pytest.mark.parametrize("damage", [_exchanged, _elsewhere, _too_far])
def test_a_damaged_table_of_places_never_shows_another_rows_facts(
    built: Store, made: list[Shard], tmp_path: Path, damage: Callable[[NDArray[np.int64]], None]
) -> None:
    store = copy(Path(built.root), tmp_path / "set")
    path = Path(store.root, "index/000001/places.npy")
    places = np.load(path)
    damage(places)
    path.unlink()
    np.save(path, places)
    opened = Opened(store, require_latest(store))
    with pytest.raises(FormatError, match="rows that are not where it says; `tamis index build`"):
        opened.facts(places[0, 3:5], ["caption"])
    if damage is not _exchanged:
        with pytest.raises(FormatError, match="rows that are not where it says"):
            opened.vectors(places[0, 3:5])


@pytest.mark.parametrize("length", [0.3, 0.9, -8, 64])
def test_an_array_that_is_not_as_long_as_it_says_is_refused(built: Store, tmp_path: Path, length: float) -> None:
    store = copy(Path(built.root), tmp_path / "set")
    path = Path(store.root, "index/000001/places.npy")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + bytes(64) if length == 64 else data[: int(length * len(data)) if length > 0 else -8])
    with pytest.raises(FormatError, match="not an array that is whole"):
        Opened(store, require_latest(store))
