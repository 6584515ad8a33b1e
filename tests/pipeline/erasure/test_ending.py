"""A request that is withdrawn or refused gives back what it hid, and only that."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import amendments, tombstones
from pipeline.erasure import plan
from pipeline.erasure.ending import Ended, end
from pipeline.errors import DatasetBusy, InputError
from pipeline.lock import hold
from pipeline.registry.registry import Registry
from pipeline.store import Store

UIDS = [bytes([number]) * 16 for number in range(6)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open_url(str(tmp_path / "set"))


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry.open(store)


def hiding(store: Store, registry: Registry, name: str, uids: list[bytes], *states: str) -> str:
    request = registry.add("url", f"https://a.example/{name}.jpg")
    for state in states:
        registry.advance(request.id, state)
    tombstones.publish(store, tombstones.of_request(uids, ["part"] * len(uids), request.id))
    return request.id


def hidden(store: Store) -> list[bytes]:
    return [bytes(uid).ljust(16, b"\0") for uid in tombstones.read(store).uids()]


def erased(store: Store, number: int, uids: list[bytes]) -> amendments.Erasure:
    return amendments.Erasure(number, "2026-01-01T00:00:00Z", [], [uid.hex() for uid in uids], [], {}, [])


@pytest.mark.parametrize("states", [("identified", "tombstoned"), ("identified", "proposed")])
def test_what_is_only_hidden_comes_back(store: Store, registry: Registry, states: tuple[str, ...]) -> None:
    id_ = hiding(store, registry, "one", UIDS[:4], *states)
    assert hidden(store) == UIDS[:4]
    assert end(store, registry, id_, "withdrawn") == Ended(4, 0, 0)
    assert hidden(store) == []
    assert registry.get(id_).state == "withdrawn"
    newest = tombstones.read(store).position
    assert end(store, registry, id_, "withdrawn") == Ended(0, 0, 0)  # again
    assert tombstones.read(store).position == newest


def test_who_takes_a_request_back_is_forgotten_and_who_is_refused_may_still_complain(
    store: Store, registry: Registry
) -> None:
    back = hiding(store, registry, "one", UIDS[:1], "identified", "tombstoned")
    refused = hiding(store, registry, "two", UIDS[1:2], "identified")
    assert end(store, registry, back, "withdrawn") == Ended(1, 0, 0)
    end(store, registry, refused, "refused", "excessive")
    assert (registry.get(back).forgotten, registry.get(refused).forgotten) == (True, False)
    assert registry.secret(refused)["value"] == "https://a.example/two.jpg"
    with pytest.raises(InputError, match="its key was destroyed"):
        registry.secret(back)
    assert registry.check_log() == []


def test_what_another_request_hides_too_stays_hidden(store: Store, registry: Registry) -> None:
    one = hiding(store, registry, "one", UIDS[:3], "identified", "tombstoned")
    hiding(store, registry, "two", UIDS[2:4], "identified", "tombstoned")
    assert end(store, registry, one, "withdrawn") == Ended(3, 1, 0)
    assert hidden(store) == UIDS[2:4]


def test_what_is_erased_or_about_to_be_stays_hidden_for_good(store: Store, registry: Registry) -> None:
    id_ = hiding(store, registry, "one", UIDS, "identified", "tombstoned")
    amendments.commit(store, erased(store, 1, UIDS[:2]))
    begun = plan.Plan(2, "2026-01-01T00:00:00Z", {UIDS[2].hex(): ["part"]}, [id_], [], {}, [])
    plan.keep(store, begun)
    assert end(store, registry, id_, "withdrawn") == Ended(3, 0, 3)
    assert hidden(store) == UIDS[:3]
    with_all = replace(begun, number=3, uids={uid.hex(): [] for uid in UIDS})
    plan.keep(store, with_all)
    assert end(store, registry, id_, "withdrawn") == Ended(0, 0, 3)


def test_a_closed_request_only_loses_its_block(store: Store, registry: Registry) -> None:
    id_ = hiding(store, registry, "one", UIDS, "identified", "tombstoned", "erased", "closed")
    amendments.commit(store, erased(store, 1, UIDS))
    position = registry.position()
    assert end(store, registry, id_, "withdrawn") == Ended(0, 0, 6)
    assert hidden(store) == UIDS
    assert registry.position() == position + 1
    assert [row["active"] for row in registry.entries()] == [False]


def test_a_refusal_shows_what_was_hidden_while_it_was_looked_at(store: Store, registry: Registry) -> None:
    id_ = hiding(store, registry, "one", UIDS[:2], "identified", "proposed")
    with pytest.raises(InputError, match="a refusal needs its reason"):
        end(store, registry, id_, "refused")
    assert hidden(store) == UIDS[:2]
    assert end(store, registry, id_, "refused", "not_in_scope") == Ended(2, 0, 0)
    assert (registry.get(id_).state, hidden(store)) == ("refused", [])


def test_an_illegal_end_changes_nothing(store: Store, registry: Registry) -> None:
    id_ = hiding(store, registry, "one", UIDS[:2], "identified", "tombstoned")
    with pytest.raises(InputError, match="is tombstoned: it cannot become refused; possible: erased, withdrawn"):
        end(store, registry, id_, "refused", "not_in_scope")
    assert hidden(store) == UIDS[:2]


def test_it_waits_for_nobody_and_changes_nothing_while_the_data_set_is_held(store: Store, registry: Registry) -> None:
    id_ = hiding(store, registry, "one", UIDS[:2], "identified", "tombstoned")
    with hold(store), pytest.raises(DatasetBusy, match="another run holds this data set"):
        end(store, registry, id_, "withdrawn")
    assert (registry.get(id_).state, hidden(store)) == ("tombstoned", UIDS[:2])
