"""Requests as a person and an ingest see them: taken in once, obeyed at once, found again, sealed."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from filters import removal
from pipeline.errors import InputError, InvariantError
from pipeline.registry import place, receipts, seal
from pipeline.registry.imports import import_list
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.tables import entry
from pipeline.registry.tables import request as request_table
from tests.pipeline.registry.conftest import Opener

VALUES: dict[str, Any] = {
    "url": "https://artist.example/1.jpg", "url_prefix": "https://artist.example/holiday/", "host": "pics.artist.example",
    "domain": "artist.example", "uid": "0a" * 16, "sha256": "1b" * 32, "md5": "2c" * 16, "pdq": "3d" * 32, "phash64": "4e" * 8,
    "text": "Jane Doe", "creator": "© Jane Doe",
    "picture": {"sha256": "5f" * 32, "md5": "60" * 16, "pdq": "71" * 32, "pdq_quality": "80", "phash64": "82" * 8},
}  # fmt: skip
assert set(VALUES) == set(removal.KINDS)


def listed(registry: Registry) -> list[tuple[str, bytes]]:
    with place.reading(registry.engine) as connection:
        found = connection.execute(select(entry.c.kind, entry.c.digest).where(entry.c.active)).all()
    return sorted((kind, bytes(digest)) for kind, digest in found)


@pytest.mark.parametrize("kind", removal.KINDS)
def test_every_kind_is_taken_in_sealed_and_listed_at_once(either: Registry, kind: str) -> None:
    request = either.add(kind, VALUES[kind], contact="jane@mail.example", note="please")
    assert (request.state, request.position, request.forgotten) == ("received", 1, False)
    assert either.position() == 1
    assert either.secret(request.id) == {"value": VALUES[kind], "contact": "jane@mail.example", "note": "please"}
    expected = {"url_prefix": ["prefix_host", "prefix_length", "url_prefix"], "picture": ["md5", "pdq", "sha256"]}.get(
        kind, [kind]
    )
    assert [name for name, _ in listed(either)] == expected
    assert request.options == {"category": "train", "copies": kind in removal.COPIES_TOO}
    assert either.get(request.id) == request


@pytest.mark.parametrize("kind", removal.KINDS)
def test_what_is_not_of_the_kind_is_refused_and_nothing_is_kept(registry: Registry, kind: str) -> None:
    wrong: dict[str, list[Any]] = {
        "url": ["", "javascript:x", "https://"], "url_prefix": ["mailto:x@y"], "host": ["a b"],
        "domain": ["", "jane@mail.example", "a b.example"],
        "uid": ["0a" * 15, "xyz"], "sha256": ["1b" * 31, "g" * 64], "md5": ["1b" * 32], "pdq": ["0" * 63], "phash64": ["1" * 17],
        "text": ["", "…!?"], "creator": [" "],
        "picture": ["a file", {"md5": "60" * 16}, {"sha256": "zz"}, {"sha256": "5f" * 32, "pdq": "12"}],
    }  # fmt: skip
    for value in wrong[kind]:
        with pytest.raises(InputError, match=r"is no |named by its hashes"):
            registry.add(kind, value)
    assert list(registry.requests()) == []
    assert registry.position() == 0
    with pytest.raises(InputError, match="kind 'face': one of url, "):
        registry.add("face", "x")
    with pytest.raises(InputError, match="category 'x': one of train, "):
        registry.add("url", VALUES["url"], category="x")


def test_the_same_again_is_the_same_request_while_it_is_open(either: Registry) -> None:
    first = either.add("url", VALUES["url"], contact="jane@mail.example")
    again = either.add("url", "http://www.artist.example/1.jpg", contact="jane@mail.example")  # the same resource
    assert again == first
    assert len(either.entries_of(first.id)) == 1
    either.advance(first.id, "withdrawn")
    assert either.add("url", VALUES["url"], contact="jane@mail.example").id != first.id


def test_another_person_or_another_wish_is_another_request(either: Registry) -> None:
    ids = {
        either.add("url", VALUES["url"]).id,
        either.add("url", VALUES["url"], contact="jane@mail.example").id,
        either.add("url", VALUES["url"], contact="joan@mail.example").id,
        either.add("url", VALUES["url"], copies=False).id,
        either.add("url", VALUES["url"], category="ncii").id,
        either.add("url", VALUES["url"], source="recheck").id,
        either.add("url_prefix", VALUES["url"]).id,
    }
    assert len(ids) == 7
    assert len(listed(either)) == 6 + 3


def test_a_thing_that_two_asked_for_stays_listed_when_one_withdraws(either: Registry) -> None:
    one, two = (either.add("domain", "artist.example", contact=who) for who in ("one", "two"))
    either.advance(one.id, "withdrawn")
    assert [kind for kind, _ in listed(either)] == ["domain"]
    assert either.position() == 3
    either.advance(two.id, "refused", reason="not_in_scope")
    assert listed(either) == []
    assert either.position() == 4


def test_what_is_done_stays_listed_so_that_it_does_not_return(either: Registry) -> None:
    request = either.add("url", VALUES["url"])
    for state in ("identified", "tombstoned", "erased", "closed"):
        either.advance(request.id, state)
        assert len(listed(either)) == 1
    assert either.position() == 1
    either.shred(request.id)
    assert len(listed(either)) == 1
    either.advance(request.id, "withdrawn")
    assert listed(either) == []


def test_a_picture_is_listed_turned_and_mirrored_and_a_poor_pdq_is_not(registry: Registry) -> None:
    turned = " ".join(f"{number:02x}" * 32 for number in (1, 2, 3, 1))
    registry.add("picture", {**VALUES["picture"], "pdq_turned": turned})
    assert [kind for kind, _ in listed(registry)] == ["md5", "pdq", "pdq", "pdq", "pdq", "sha256"]
    poor = {**VALUES["picture"], "sha256": "66" * 32, "md5": "67" * 16, "pdq": "68" * 32, "pdq_quality": "49"}
    registry.add("picture", poor)
    assert sum(kind == "pdq" for kind, _ in listed(registry)) == 4


def test_ids_are_not_guessable_and_requests_come_in_their_order(either: Registry) -> None:
    made = [either.add("url", f"https://a.example/{n}.jpg") for n in range(450)]  # more than one query's ids
    assert len({request.id for request in made}) == 450
    assert {len(request.id) for request in made} == {28}
    assert [request.position for request in either.requests()] == list(range(1, 451))
    either.advance(made[7].id, "identified")
    assert [request.id for request in either.requests("identified")] == [made[7].id]
    assert either.counts() == {"received": 449, "identified": 1}


def test_matches_are_sealed_settled_and_kept_as_they_were_first_found(either: Registry) -> None:
    request = either.add("url", VALUES["url"])
    facts = {"url": VALUES["url"], "text": "Jane at the sea \ud800", "sha256": "ab" * 32}
    rows = [
        Match(b"\1" * 16, "part-a", "url", None, "confirmed", facts),
        Match(b"\0" * 16, "part-b", "neighbour", 0.93, "proposed"),
    ]
    assert either.add_matches(request.id, rows) == 2
    assert either.add_matches(request.id, [Match(b"\1" * 16, "part-c", "copy")]) == 0
    assert either.matches(request.id) == rows[::-1]
    assert either.matches(request.id, "proposed") == rows[1:]
    either.settle_match(request.id, b"\0" * 16, "rejected")
    assert either.matches(request.id, "proposed") == []
    assert [match.state for match in either.matches(request.id)] == ["rejected", "confirmed"]
    with pytest.raises(InputError, match=r"has no match 0202.*; `tamis optout show` lists them"):
        either.settle_match(request.id, b"\2" * 16, "confirmed")
    either.shred(request.id)
    assert [match.secret for match in either.matches(request.id)] == [None, None]


def test_a_sealed_value_cannot_be_changed_or_moved_to_another_request(registry: Registry) -> None:
    one, two = (registry.add("url", f"https://a.example/{n}.jpg") for n in "12")
    with place.writing(registry.engine) as connection:
        rows = {row.id: row for row in connection.execute(select(request_table)).all()}
        moved = {"key": rows[one.id].key, "sealed": rows[one.id].sealed}
        connection.execute(request_table.update().where(request_table.c.id == two.id).values(**moved))
    with pytest.raises(InvariantError, match=f"the sealed values of {two.id} were changed"):
        registry.secret(two.id)
    sealed = bytes(rows[one.id].sealed)
    with pytest.raises(InvariantError, match="were changed"):
        seal.unseal(bytes(rows[one.id].key), sealed[:-1] + bytes([sealed[-1] ^ 1]), one.id)


def test_each_request_has_a_key_of_its_own_and_no_two_seals_are_alike(registry: Registry) -> None:
    for contact in ("one", "two"):
        registry.add("url", VALUES["url"], contact=contact)
    with place.reading(registry.engine) as connection:
        rows = connection.execute(select(request_table)).all()
    assert len({bytes(row.key) for row in rows}) == len({bytes(row.commitment) for row in rows}) == 2
    assert rows[0].digest == rows[1].digest
    assert seal.seal(b"k" * 32, {"a": 1}, "x") != seal.seal(b"k" * 32, {"a": 1}, "x")


def test_a_registry_reopened_is_the_same(opener: Opener) -> None:
    first = opener()
    request = first.add("url", VALUES["url"])
    again = opener()
    assert (again.id, again.seed, again.origin, again.position()) == (first.id, first.seed, first.origin, 1)
    assert again.get(request.id) == request
    assert again.key.private_bytes_raw() == first.key.private_bytes_raw()


def test_facts_are_remembered_and_replaced(either: Registry) -> None:
    assert either.meta("seen") is None
    either.remember("seen", "1")
    either.remember("seen", "2")
    assert either.meta("seen") == "2"


def test_what_is_shown_of_a_request_is_json_without_anything_personal(registry: Registry) -> None:
    request = registry.add("url", VALUES["url"], contact="jane@mail.example", distance=None)
    shown = json.dumps(request.to_json())
    assert "artist" not in shown
    assert "jane" not in shown
    assert json.loads(shown)["deadline_utc"] == request.due_utc
    assert json.loads(shown)["transitions"][0]["leaf"] == 0


def test_entries_go_out_in_pages_each_once(either: Registry, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{n}.example\n" for n in range(20_500)))
    import_list(either, tmp_path / "list.txt")
    either.add("domain", "7.example")
    rows = list(either.entries())
    assert len(rows) == 20_501
    assert len({(row["digest"], row["owner"]) for row in rows}) == 20_501
    assert [row["digest"] for row in rows] == sorted(row["digest"] for row in rows)


def test_a_list_stands_as_a_request_with_a_receipt_of_its_own(either: Registry, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.example\n")
    id_ = import_list(either, tmp_path / "list.txt").id
    passing = either.list_request(id_, keep=False)
    assert (passing.kind, passing.state, list(either.requests())) == ("list", "received", [])
    assert either.list_request(id_) == either.list_request(id_)
    assert [request.id for request in either.requests()] == [id_]
    assert receipts.check(receipts.receipt(either, id_))[-1].startswith("entry 1: received at ")
    either.advance(id_, "withdrawn")  # the list as a whole
    assert listed(either) == []
    again = import_list(either, tmp_path / "list.txt")
    assert again.again  # what was withdrawn is not brought back by the same file
    assert listed(either) == []
