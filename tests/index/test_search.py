"""A search answers with what is nearest, as many as were asked for, never with what is hidden, and by laws that can be checked."""

import threading
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.conditions import Condition, parse
from index.encoder import Encoder
from index.hits import Hit
from index.query import Query, Term
from index.search import Searcher
from pipeline import tombstones
from pipeline.errors import FormatError, InputError
from pipeline.snapshot import Snapshot
from pipeline.store import Store
from tests.index.made import facts, make, unit
from tests.small_dataset import jpeg

ROWS = 120
IMAGE = unit(ROWS).astype(np.float16).astype(np.float32)
COPIES = ((0, 7, 50), (3, 4))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """120 random directions; 0, 7 and 50 are one group of copies, 3 and 4 another; 10 and 11 have equal bytes, 20 and 21 one vector."""
    image = IMAGE.copy()
    image[21] = image[20]
    return make(
        tmp_path_factory.mktemp("made") / "set", image, groups=COPIES, changed={11: {"sha256": facts(10)["sha256"]}}
    )


@pytest.fixture(scope="module")
def searcher(store: Store) -> Searcher:
    return Searcher(store)


def uid(number: int) -> str:
    return str(facts(number)["key"])


def asked(number: int, **more: object) -> Query:
    return Query((Term(uid=uid(number)),), **more)  # type: ignore[arg-type]


def numbers(hits: list[Hit]) -> list[int]:
    by_uid = {uid(number): number for number in range(ROWS)}
    return [by_uid[hit.uid] for hit in hits]


def nearest(vector: NDArray[np.float32], among: list[int]) -> list[int]:
    return sorted(among, key=lambda number: -float(IMAGE[number] @ vector))


def hide(store: Store, number: int) -> None:
    tombstones.publish(store, tombstones.of_request([bytes.fromhex(uid(number))], ["-"], f"r-{number}"))


def test_a_sample_is_its_own_nearest_and_comes_with_its_facts_and_picture(searcher: Searcher) -> None:
    hit = searcher.search(asked(5, k=3))[0]
    row = facts(5)
    assert (hit.uid, hit.url, hit.caption, hit.domain) == (row["key"], row["url"], row["caption"], row["domain"])
    assert (hit.width, hit.height, hit.page_url) == (row["width"], row["height"], row["page_url"])
    assert hit.picture == jpeg(5)
    assert hit.cos == pytest.approx(1, abs=1e-3)
    assert hit.clip_cos == pytest.approx(row["clip_cos"])


def test_the_same_sample_is_found_by_url_however_it_is_written(searcher: Searcher) -> None:
    by_uid = searcher.search(asked(6, k=4))
    assert searcher.by_url("HTTPS://WWW.pictures.example:443/6.jpg", 4) == by_uid
    assert searcher.by_uid(uid(6).upper(), 4) == by_uid


def test_without_pictures_the_answer_is_the_same_but_for_the_bytes(searcher: Searcher) -> None:
    plain = searcher.search(asked(5), pictures=False)
    assert [hit.uid for hit in plain] == [hit.uid for hit in searcher.search(asked(5))]
    assert {hit.picture for hit in plain} == {b""}


def test_a_sum_of_terms_is_searched_by_the_sum_of_their_vectors(searcher: Searcher) -> None:
    terms = (Term(uid=uid(1)), Term(uid=uid(2), weight=0.5), Term(uid=uid(9), weight=-0.25))
    expected = IMAGE[1] + 0.5 * IMAGE[2] - 0.25 * IMAGE[9]
    found = searcher.search(Query(terms, k=8))
    assert numbers(found) == nearest(expected, list(range(ROWS)))[:8]
    assert found[0].cos == pytest.approx(
        float(IMAGE[numbers(found)[0]] @ expected) / np.linalg.norm(expected), abs=1e-3
    )


def test_the_order_of_the_terms_is_of_no_matter(searcher: Searcher) -> None:
    terms = (Term(uid=uid(1)), Term(uid=uid(2), weight=0.5), Term(embedding=tuple(IMAGE[3].tolist()), weight=-1.0))
    found = {tuple(numbers(searcher.search(Query(order, k=15)))) for order in permutations(terms)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ((), "nothing is asked for"),
        ((Term(),), "a term of the query is empty"),
        ((Term(uid="00" * 16),), "has the uid 0000"),
        ((Term(uid="not hex"),), "is no uid: 32 hex digits"),
        ((Term(uid="ab"),), "is no uid"),
        ((Term(url="https://www.pictures.example/none.jpg"),), "has the URL https://www.pictures.example/none.jpg"),
        ((Term(url="::::"),), "has the URL"),
        ((Term(embedding=(1.0, 2.0)),), "the embedding has 2 numbers; those of this data set have 16"),
        ((Term(embedding=(float("nan"),) * 16),), "not finite"),
        ((Term(embedding=(1.0,) * 16, weight=float("inf")),), "not finite"),
        ((Term(embedding=(0.0,) * 16),), "cancel out"),
        ((Term(uid="{0}"), Term(uid="{0}", weight=-1)), "cancel out"),
    ],
)
def test_what_cannot_be_asked_says_why(searcher: Searcher, terms: tuple[Term, ...], said: str) -> None:
    own = tuple(Term(uid=uid(0), weight=term.weight) if term.uid == "{0}" else term for term in terms)
    with pytest.raises(InputError, match=said):
        searcher.search(Query(own))


def test_a_range_holds_everything_that_is_near_enough_and_nothing_else(searcher: Searcher) -> None:
    near = [n for n in range(ROWS) if float(IMAGE[n if n != 21 else 20] @ IMAGE[5]) >= 0.3]
    found = searcher.search(asked(5, k=1000, least_cos=0.3))
    assert sorted(numbers(found)) == near
    assert 1 < len(near) < ROWS
    assert len(searcher.search(asked(5, k=2, least_cos=0.3))) == 2
    assert searcher.search(asked(5, k=10, least_cos=1.01)) == []


WHERE = st.lists(
    st.sampled_from(["domain=shop.example", "domain!=shop.example", "clip_cos>=0.2", "width<300", "lang=de", "caption~RED", "license~by"]),
    min_size=1, max_size=3, unique=True,
)  # fmt: skip


@settings(max_examples=40)
@given(where=WHERE, number=st.integers(0, 19), k=st.integers(1, ROWS + 5), offset=st.integers(0, 12))
def test_filter_then_search_is_search_then_filter(
    searcher: Searcher, where: list[str], number: int, k: int, offset: int
) -> None:
    conditions = tuple(parse(one) for one in where)
    everything = searcher.search(asked(number, k=ROWS), pictures=False)
    fitting = set(searcher.opened.facts(searcher.opened.matching(conditions), ["key"])["key"].to_pylist())
    expected = [hit for hit in everything if hit.uid in fitting][offset : offset + k]
    found = searcher.search(asked(number, k=k, where=conditions, offset=offset), pictures=False)
    assert [hit.uid for hit in found] == [hit.uid for hit in expected]
    assert [hit.cos for hit in found] == pytest.approx([hit.cos for hit in expected], abs=1e-5)


def test_pages_of_an_answer_put_together_are_the_answer(searcher: Searcher) -> None:
    whole = searcher.search(asked(8, k=60, deduplicate=True), pictures=False)
    pages = [searcher.search(asked(8, k=20, deduplicate=True, offset=at), pictures=False) for at in (0, 20, 40)]
    assert [hit for page in pages for hit in page] == whole


def test_an_unknown_column_names_the_nearest_one(searcher: Searcher) -> None:
    with pytest.raises(InputError, match="no column 'widht' here; did you mean 'width'"):
        searcher.search(asked(0, where=(Condition("widht", ">=", 2),)))


def copies(one: int, other: int) -> bool:
    pairs = [set(group) for group in COPIES] + [{10, 11}, {20, 21}]
    return any({one, other} <= pair for pair in pairs)


@pytest.mark.parametrize("number", [0, 3, 4, 7, 10, 11, 20, 21, 50, 60])
@pytest.mark.parametrize("k", [1, 2, 5, 114, ROWS])
def test_no_two_of_a_group_are_shown_and_the_answer_is_full(searcher: Searcher, number: int, k: int) -> None:
    found = numbers(searcher.search(asked(number, k=k, deduplicate=True), pictures=False))
    assert len(found) == min(k, ROWS - 5)  # two of the three, and one of each pair, stand for another
    assert found[0] == number or copies(found[0], number)
    assert not [(one, two) for one in found for two in found if one < two and copies(one, two)]


def test_many_queries_at_once_find_what_each_finds_alone(searcher: Searcher) -> None:
    bright = (parse("clip_cos>=0.2"),)
    queries = [
        asked(
            n,
            k=1 + n,
            deduplicate=n % 2 == 0,
            where=bright if n % 3 else (),
            offset=n % 4,
            least_cos=-0.2 if n % 5 else None,
        )
        for n in range(30)
    ]
    for query, together in zip(queries, searcher.search_many(queries, pictures=False), strict=True):
        alone = searcher.search(query, pictures=False)
        assert [hit.uid for hit in together] == [hit.uid for hit in alone]
        assert [hit.cos for hit in together] == pytest.approx([hit.cos for hit in alone], abs=1e-5)


def test_neighbours_both_ways_are_those_that_would_find_what_is_asked(searcher: Searcher) -> None:
    k = 6
    cosines = IMAGE @ IMAGE.T
    cosines[21], cosines[:, 21] = cosines[20], cosines[:, 20]
    query = unit(1, 16, seed=9)[0]
    found = numbers(searcher.reciprocal(Query((Term(embedding=tuple(query.tolist())),), k=k)))
    near = searcher.search(Query((Term(embedding=tuple(query.tolist())),), k=k))
    expected = []
    for number in numbers(near):
        others = sorted((float(cosines[number, other]) for other in range(ROWS) if other != number), reverse=True)
        if float(IMAGE[number if number != 21 else 20] @ query) >= others[k - 1]:
            expected.append(number)
    assert found == expected


def test_of_texts_neighbours_both_ways_are_neighbours_by_their_texts(searcher: Searcher) -> None:
    k, texts = 6, unit(ROWS, IMAGE.shape[1], 1).astype(np.float16).astype(np.float32)
    query = unit(1, 16, seed=9)[0]
    asks = Query((Term(embedding=tuple(query.tolist())),), k=k, modality="text")
    cosines = texts @ texts.T
    expected = []
    for number in sorted(range(ROWS), key=lambda number: -float(texts[number] @ query))[:k]:
        others = sorted((float(cosines[number, other]) for other in range(ROWS) if other != number), reverse=True)
        if float(texts[number] @ query) >= others[k - 1]:
            expected.append(number)
    assert numbers(searcher.reciprocal(asks)) == expected
    assert 0 < len(expected) < k  # else the law says nothing


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Store]:
    return lambda **more: make(tmp_path / "set", IMAGE[:60], groups=COPIES[1:], **more)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_the_hidden_are_never_shown_and_take_nobodys_place(fresh: Callable[..., Store], deduplicate: bool) -> None:
    store = fresh()
    running = Searcher(store)
    before = numbers(running.search(asked(3, k=60), pictures=False))
    gone = before[:5]
    for number in gone:
        hide(store, number)
    for searcher in (Searcher(store), running):
        until_obeyed(searcher, gone)
        query = Query((Term(embedding=tuple(IMAGE[3].tolist())),), k=10, deduplicate=deduplicate)
        found = numbers(searcher.search(query))
        assert found == [number for number in before if number not in gone][:10]


def until_obeyed(searcher: Searcher, gone: list[int]) -> None:
    looks = 0
    query = Query((Term(embedding=tuple(IMAGE[3].tolist())),), k=60)
    while set(numbers(searcher.search(query, pictures=False))) & set(gone):
        looks += 1
        assert looks < 10_000


def test_to_the_one_who_asks_hidden_is_the_same_as_unknown(fresh: Callable[..., Store]) -> None:
    store = fresh()
    hide(store, 9)
    searcher = Searcher(store)
    for term, none in (
        (Term(uid=uid(9)), Term(uid="0" * 32)),
        (Term(url=facts(9)["url"]), Term(url="https://a.example/b")),
    ):
        said = []
        for one in (term, none):
            with pytest.raises(InputError) as failure:
                searcher.search(Query((one,)))
            said.append(str(failure.value).replace(one.uid or one.url or "", "…"))
        assert said[0] == said[1]


def test_somebody_who_is_hidden_while_searches_run_is_gone_from_all_that_begin_later(
    fresh: Callable[..., Store],
) -> None:
    store = fresh()
    searcher = Searcher(store)
    stop, troubles, sizes = threading.Event(), [], set()

    def search() -> None:
        try:
            while not stop.is_set():
                sizes.add(len(searcher.search(asked(3, k=5), pictures=True)))
        except Exception as error:  # noqa: BLE001  (whatever it is, it fails the test)
            troubles.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    gone = numbers(searcher.search(asked(3, k=5), pictures=False))[1:4]
    for number in gone:
        hide(store, number)
    until_obeyed(searcher, gone)
    assert not set(numbers(searcher.search(asked(3, k=60)))) & set(gone)
    stop.set()
    for thread in threads:
        thread.join()
    assert not troubles
    assert max(sizes) == 5


def test_a_newer_snapshot_comes_in_under_running_searches_and_none_fails(
    fresh: Callable[..., Store], tmp_path: Path
) -> None:
    store = fresh()
    searcher = Searcher(store)
    stop, troubles, seen = threading.Event(), [], set()

    def search() -> None:
        try:
            while not stop.is_set():
                seen.add(len(searcher.search(asked(3, k=1000))))
        except Exception as error:  # noqa: BLE001
            troubles.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    first = searcher.opened
    make(tmp_path / "set", IMAGE[:80], number=2)
    assert searcher.refresh()
    assert not searcher.refresh()
    while 80 not in seen and not troubles:
        pass
    for kind in ("shards", "embeddings", "index"):  # as a run with keep_snapshots = 1 does
        store.delete_folder(f"{kind}/000001")
    stop.set()
    for thread in threads:
        thread.join()
    assert not troubles
    assert seen == {60, 80}
    assert searcher.snapshot.number == 2
    assert searcher.opened is not first


def test_a_newer_snapshots_model_comes_with_its_vectors_and_no_sooner_or_later(
    fresh: Callable[..., Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = Searcher(fresh())
    make(tmp_path / "set", IMAGE[:80], number=2, weights="ab" * 32)
    seen = []

    def fits(encoder: Encoder, snapshot: Snapshot) -> bool:
        seen.append((searcher.snapshot.number, snapshot.number))  # whoever searches now still has both of the old one
        return False

    monkeypatch.setattr(Encoder, "fits", fits)
    assert searcher.refresh()
    assert seen == [(1, 2)]
    with pytest.raises(InputError, match="not those the data set was made with"):
        searcher.by_text("a red square", 3)


def test_a_search_whose_snapshot_was_taken_away_is_answered_by_the_newer_one(
    fresh: Callable[..., Store], tmp_path: Path
) -> None:
    store = fresh()
    searcher = Searcher(store)
    make(tmp_path / "set", IMAGE[:80], number=2)
    for kind in ("shards", "embeddings", "index"):
        store.delete_folder(f"{kind}/000001")
    assert len(searcher.search(asked(3, k=1000))) == 80


def test_a_picture_that_is_gone_and_that_nobody_asked_for_is_told(fresh: Callable[..., Store]) -> None:
    store = fresh()
    searcher = Searcher(store)
    tar = store.local("shards/000001/00000.tar")
    assert tar is not None
    data = tar.read_bytes()
    tar.write_bytes(bytes(len(data)))
    with pytest.raises(FormatError, match="holds no picture of sample"):
        searcher.search(asked(3, k=3))


def test_an_index_that_is_in_use_is_closed_after_its_last_user(fresh: Callable[..., Store], tmp_path: Path) -> None:
    searcher = Searcher(fresh())
    ids = searcher.opened.matching([])[:2]
    with searcher.using() as outer:
        with searcher.using() as inner:
            make(tmp_path / "set", IMAGE[:80], number=2)
            assert searcher.refresh()
            assert inner is outer
        assert len(outer.near(IMAGE[:1], 3)[0].ids) == 3  # one user is left
        assert searcher.opened is not outer
    with pytest.raises(KeyError):  # what is closed answers nothing
        outer.near(IMAGE[:1], 3)
    assert len(searcher.opened.facts(ids)) == 2
    searcher.close()


def test_a_data_set_on_an_object_store_answers_alike(s3_endpoint: str, searcher: Searcher) -> None:
    far = Searcher(make("s3://sets/made", IMAGE[:60]))
    query = asked(5, k=6, where=(parse("domain=shop.example"),), deduplicate=True)
    found = far.search(query)
    assert [hit.picture for hit in found] == [jpeg(number) for number in numbers(found)]
    assert numbers(found) == [n for n in numbers(searcher.search(asked(5, k=ROWS, where=query.where))) if n < 60][:6]
    far.close()
