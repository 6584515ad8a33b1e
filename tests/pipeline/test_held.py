"""Requests of strangers wait: they have no effect until an officer accepts them; questions never have any."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import held, tombstones
from pipeline.disclosure.releases import refuse_unsettled
from pipeline.erasure.ending import end
from pipeline.errors import InputError
from pipeline.identify import settle, take_up
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match, Request
from pipeline.registry.suppression import Suppression
from pipeline.registry.suppression_files import build as lists_of
from pipeline.store import Store
from tests.small_dataset import build

DOMAIN = "museum.example"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set that nobody changes."""
    folder = tmp_path_factory.mktemp("held") / "set"
    build(folder)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of it for one test."""
    return Store.open_url(str(shutil.copytree(made, tmp_path / "set")))


@pytest.fixture
def registry(store: Store) -> Registry:
    """Its registry."""
    return Registry.open(store)


def filed(registry: Registry, value: str = DOMAIN, **options: Any) -> Request:
    return registry.add("domain", value, source="web", held=True, **options)


def barred(store: Store, registry: Registry) -> bool:
    """Tell whether an ingest would leave the site out now."""
    lists = Suppression.open(store, lists_of(registry))
    urls = pa.chunked_array([pa.array([f"https://www.{DOMAIN}/new.jpg"])])
    return bool(lists.urls(urls, pa.chunked_array([pa.array([DOMAIN])]))[0])


def hidden(store: Store) -> int:
    return len(tombstones.read(store).uids())


def test_a_strangers_request_hides_and_blocks_nothing_until_it_is_accepted(store: Store, registry: Registry) -> None:
    request = filed(registry)
    held.look(store, registry, request.id)
    rows = len(registry.matches(request.id, "confirmed"))
    assert rows > 10
    assert (registry.get(request.id).state, hidden(store), barred(store, registry)) == ("identified", 0, False)
    take_up(store, registry, request.id)  # what the command line does changes nothing either
    with pytest.raises(InputError, match="waits for an officer; `tamis optout accept`"):
        settle(store, registry, request.id)
    assert (registry.get(request.id).state, hidden(store), barred(store, registry)) == ("identified", 0, False)
    held.accept(store, registry, request.id)
    assert (registry.get(request.id).state, hidden(store), barred(store, registry)) == ("tombstoned", rows, True)
    held.accept(store, registry, request.id)
    types = [json.loads(entry)["type"] for _, entry in registry.entries_of(request.id)]
    assert types == ["received", "matched", "identified", "accepted", "tombstoned"]


def test_a_kill_anywhere_in_an_acceptance_is_mended_by_the_next_one(store: Store, registry: Registry) -> None:
    request = filed(registry)
    registry.accept(request.id)  # killed here: ingests obey it, nothing is hidden yet
    assert (registry.get(request.id).state, barred(store, registry)) == ("received", True)
    held.accept(store, registry, request.id)
    assert registry.get(request.id).state == "tombstoned"
    assert hidden(store) == len(registry.matches(request.id))


def test_a_refused_request_has_left_nothing(store: Store, registry: Registry) -> None:
    request = filed(registry)
    held.look(store, registry, request.id)
    end(store, registry, request.id, "refused", "identity_not_shown")
    held.accept(store, registry, request.id)
    assert (registry.get(request.id).state, hidden(store), barred(store, registry)) == ("refused", 0, False)


def test_a_request_that_means_too_much_is_not_listed_before_it_is_accepted(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "MOST", 5)
    request = filed(registry)
    held.look(store, registry, request.id)
    assert (registry.get(request.id).state, registry.matches(request.id)) == ("received", [])
    held.accept(store, registry, request.id)
    assert registry.get(request.id).state == "tombstoned"
    assert len(registry.matches(request.id)) > 5


def test_two_strangers_who_name_the_same_do_not_share_a_request(registry: Registry) -> None:
    one, other = filed(registry, contact="one@mail.example"), filed(registry, contact="one@mail.example")
    assert one.id != other.id
    assert registry.add("domain", DOMAIN).id == registry.add("domain", DOMAIN).id


def test_a_question_hides_nothing_and_is_answered_and_forgotten(store: Store, registry: Registry) -> None:
    request = filed(registry, category="gdpr15", contact="me@mail.example")
    held.look(store, registry, request.id)
    rows = len(registry.matches(request.id))
    with pytest.raises(InputError, match="only asks whether something is in the data set; answer it"):
        held.accept(store, registry, request.id)
    with pytest.raises(InputError, match="cannot become tombstoned; possible: closed, refused, withdrawn"):
        registry.advance(request.id, "tombstoned")
    uid = bytes(range(16))
    registry.add_matches(request.id, [Match(uid, "part", "neighbour", 0.9, "proposed")])
    with pytest.raises(InputError, match="has look-alikes that nobody has compared yet"):
        held.answer(store, registry, request.id)
    assert held.answer(store, registry, request.id, reject=[uid]) == {"found": "yes", "rows": rows}
    found = registry.get(request.id)
    assert (found.state, found.forgotten, hidden(store), barred(store, registry)) == ("closed", True, 0, False)
    held.answer(store, registry, request.id)  # again is fine
    with pytest.raises(InputError, match="asks to be left out; accept or refuse it"):
        held.answer(store, registry, filed(registry).id)


def test_a_question_at_the_command_line_is_no_removal(store: Store, registry: Registry) -> None:
    request = registry.add("domain", DOMAIN, category="gdpr15")
    take_up(store, registry, request.id)
    assert (registry.get(request.id).state, hidden(store), barred(store, registry)) == ("identified", 0, False)
    assert held.answer(store, registry, request.id)["found"] == "yes"


def test_a_release_waits_for_requests_but_not_for_questions(store: Store, registry: Registry) -> None:
    filed(registry, category="gdpr15")
    refuse_unsettled(store, registry)
    filed(registry)
    with pytest.raises(InputError, match=r"1 requests wait for an officer \(`tamis optout accept` or `refuse`\)"):
        refuse_unsettled(store, registry)


def test_rows_that_are_left_out_of_a_search_count_as_not_there(store: Store) -> None:
    from pipeline.confirm import confirm

    whole = confirm(store, "domain", DOMAIN)
    uids = [bytes.fromhex(row["uid"]) for row in whole["rows"]]
    some = confirm(store, "domain", DOMAIN, without=frozenset(uids[:7]))
    assert some["counts"]["rows"] == whole["counts"]["rows"] - 7
    assert {row["uid"] for row in some["rows"]}.isdisjoint({uid.hex() for uid in uids[:7]})
    assert confirm(store, "domain", DOMAIN, without=frozenset(uids))["found"] == "no"
    few = confirm(store, "domain", DOMAIN, most=3)
    assert (few["counts"]["rows"], len(few["rows"])) == (whole["counts"]["rows"], 3)
