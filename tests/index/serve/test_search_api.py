"""Searching over HTTP, as programs do it."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from index.query import Query, Term
from index.search import Searcher
from index.serve.batching import Searches
from index.serve.catalogue import Catalogue
from index.serve.work import Work
from pipeline import tombstones
from pipeline.store import Store
from tests.serving import COPIES, DIMENSIONS, ROWS, Running, direction, drawn, running, uid, wait


def test_an_embedding_finds_its_picture_first_and_the_picture_is_there(server: Running) -> None:
    answer = server.search(terms=[{"embedding": direction(5)}], k=3).json()
    first = answer["hits"][0]
    assert (first["uid"], round(first["cos"], 3)) == (uid(5), 1.0)
    assert answer["threshold_cos"] == 0.1
    assert answer["snapshot"] == 1
    picture = server.client.get(first["picture"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.headers["cache-control"] == "no-store"
    assert picture.content.startswith(b"\xff\xd8\xff")


def test_http_finds_what_the_library_finds(server: Running, drawn_set: Path) -> None:
    searcher = Searcher(Store.open_url(str(drawn_set)))
    for number in range(0, ROWS, 7):
        told = server.search(terms=[{"uid": uid(number)}, {"embedding": direction(3), "weight": -0.4}], k=10).json()
        query = Query((Term(uid=uid(number)), Term(embedding=tuple(direction(3)), weight=-0.4)), 10)
        assert [hit["uid"] for hit in told["hits"]] == [hit.uid for hit in searcher.search(query)]
    searcher.close()


def test_pages_follow_one_another_and_together_are_the_whole(server: Running) -> None:
    asked: dict[str, Any] = {"terms": [{"uid": uid(9)}], "k": 40}
    whole = [hit["uid"] for hit in server.search(**asked | {"k": ROWS}).json()["hits"]]
    pages, offset = [], 0
    while offset is not None:
        answer = server.search(**asked, offset=offset).json()
        pages += [hit["uid"] for hit in answer["hits"]]
        offset = answer["next_offset"]
    assert pages == whole
    assert len(set(whole)) == ROWS


def test_conditions_and_copies_leave_the_answer_full(server: Running) -> None:
    where = [{"column": "domain", "op": "=", "value": "pictures.example"}]
    hits = server.search(terms=[{"uid": uid(0)}], k=30, where=where).json()["hits"]
    assert (len(hits), {hit["domain"] for hit in hits}) == (30, {"pictures.example"})
    hits = server.search(terms=[{"uid": uid(0)}], k=50, deduplicate=True).json()["hits"]
    assert len(hits) == 50
    assert len({uid(number) for number in COPIES} & {hit["uid"] for hit in hits}) == 1


def test_what_is_served_is_listed(server: Running) -> None:
    first, second = server.client.get("/api/v1/datasets").json()
    assert (first["name"], second["name"]) == ("drawn", "again")
    assert (first["rows"], first["model"], first["columns"]["width"]) == (ROWS, "tamis-mini", "int32")


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"terms": [{"uid": "0" * 32}]}, 400, "no picture"),
        ({"terms": [{"embedding": [1.0, 2.0]}]}, 400, "numbers"),
        ({"terms": [{"embedding": [0.0] * DIMENSIONS}]}, 400, "cancel out"),
        ({"terms": [{"embedding": [1e300] * DIMENSIONS}]}, 400, "not finite"),
        ({"terms": [{"text": "a", "uid": "0" * 32}]}, 400, "exactly one"),
        ({"terms": [{}]}, 400, "exactly one"),
        ({"terms": [{"image": "?" * 40}]}, 400, "base64"),
        ({"terms": [{"image": base64.b64encode(b"<svg/>").decode()}]}, 400, "picture"),
        ({"terms": [{"uid": "xyz"}]}, 422, "uid"),
        ({"terms": []}, 422, "terms"),
        ({"terms": [{"uid": "0" * 32}], "k": 10**9}, 422, "k"),
        ({"terms": [{"uid": "0" * 32}], "k": 0}, 422, "k"),
        ({"terms": [{"uid": "0" * 32}], "wher": []}, 422, "wher"),
        ({"terms": [{"embedding": direction(1)}], "where": [{"column": "widht", "op": "=", "value": 1}]}, 400, "width"),
        ({"terms": [{"embedding": direction(1)}], "where": [{"column": "width", "op": "LIKE", "value": 1}]}, 422, "op"),
        ({"terms": [{"embedding": direction(1)}], "where": [{"column": "width", "op": ">", "value": "x"}]}, 400, "number"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told_in_a_sentence(server: Running, body: Any, status: int, word: str) -> None:
    answer = server.search(**body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"terms": NaN}', b'{"terms":[{"embedding":[NaN]}]}', b'{"k":1e999}',
             b"[" * 100_000, b'{"terms":[{"text":"\\ud800"}]}'],
)  # fmt: skip
def test_broken_json_is_the_clients_fault(server: Running, body: bytes) -> None:
    for path in ("/api/v1/datasets/drawn/search", "/knn-service", "/metadata"):
        answer = server.client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), path
        assert "error" in answer.json()


def test_words_of_any_script_come_back_as_they_are(server: Running) -> None:
    strange = "\u202e𝕏 </script> 赤\u0000"
    answer = server.search(
        terms=[{"embedding": direction(2)}], where=[{"column": "caption", "op": "~", "value": strange}]
    )
    assert (answer.status_code, answer.json()["hits"]) == (200, [])


def test_all_that_is_known_of_a_sample_is_told(server: Running) -> None:
    told = server.client.get(f"/api/v1/datasets/drawn/samples/{uid(COPIES[0])}").json()
    assert told["facts"]["caption"].startswith("a ")
    assert {copy["uid"] for copy in told["copies"]} == {uid(number) for number in COPIES[1:]}
    assert server.client.get(f"/api/v1/datasets/drawn/samples/{'0' * 32}").status_code == 404


def hide(store: Store, name: str, request: str = "r-1", *, lifted: bool = False) -> None:
    """Hide a sample as a request does."""
    tombstones.publish(store, tombstones.of_request([bytes.fromhex(name)], ["p"], request, lifted=lifted))


def test_whoever_is_hidden_is_nowhere_within_a_second(tmp_path: Path) -> None:
    store = drawn(tmp_path / "set")
    gone = uid(5)
    with running(tmp_path / "set") as found:
        assert found.search("set", terms=[{"embedding": direction(5)}]).json()["hits"][0]["uid"] == gone
        id_ = found.client.post("/knn-service", json={"embedding_input": direction(5), "num_images": 1}).json()[0]["id"]
        hide(store, gone)
        wait(lambda: gone not in found.search("set", terms=[{"embedding": direction(5)}]).text, 1.0)
        base = f"/api/v1/datasets/set/samples/{gone}"
        assert found.client.get(base).status_code == 404
        assert found.client.get(f"{base}/picture").status_code == 404
        assert found.client.post("/metadata", json={"ids": [id_]}).json() == []
        assert (
            gone not in found.client.post("/knn-service", json={"embedding_input": direction(5), "num_images": 90}).text
        )
        unknown = found.search("set", terms=[{"uid": "0" * 32}]).json()["error"].replace("0" * 32, gone)
        assert found.search("set", terms=[{"uid": gone}]).json()["error"] == unknown
        assert 'tamis_hidden_rows{dataset="set"} 1.0' in found.client.get("/metrics").text
        hide(store, gone, lifted=True)
        wait(lambda: found.client.get(f"{base}/picture").status_code == 200, 1.0)


def test_many_at_once_get_each_their_own_answer(server: Running) -> None:
    import concurrent.futures

    def ask(number: int) -> bool:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            body = {"terms": [{"uid": uid(number)}] if number % 5 else [{"uid": "f" * 32}], "k": 1 + number % 30}
            answer = client.post("/api/v1/datasets/drawn/search", json=body)
            if number % 5 == 0:
                return answer.status_code == 400
            hits = answer.json()["hits"]
            return len(hits) == 1 + number % 30 and np.isclose(hits[0]["cos"], 1, atol=1e-3)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(ROWS)))


def test_who_asks_again_at_once_is_answered(drawn_set: Path) -> None:
    """The second search comes in the moment between the last answer and the end of the task that gave it."""
    served = Catalogue.open([str(drawn_set)]).all()[0]
    work = Work(threads=1, waiting=2, work_s=10)

    async def ask_thrice() -> list[bytes]:
        searches = Searches(served, work, threads=1, waiting=2)
        query = Query((Term(uid=uid(1)),), 1)
        async with asyncio.timeout(20):
            return [await searches.answer(query, lambda hits: hits[0].uid.encode()) for _ in range(3)]

    assert asyncio.run(ask_thrice()) == [uid(1).encode()] * 3
    work.close()
    served.searcher.close()
