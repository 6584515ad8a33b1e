"""What a request means in this data set: which rows it speaks of, which it may mean, and their hiding."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import search_rows, tombstones
from pipeline.errors import InputError
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.suppression import Suppression
from pipeline.store import Store


def take_up(store: Store, registry: Registry, request_id: str) -> None:
    """Find what a new request means, hide what it plainly means, and bring it to its next state; again is fine.

    A kind that speaks for itself ends as `tombstoned`, also where nothing was found. A picture with look-alikes ends as
    `proposed`: a person confirms or rejects them, and what is sure is hidden meanwhile. One that waits for an officer
    stays `identified`.
    """
    if registry.get(request_id).state == "received":
        registry.add_matches(request_id, identify(store, registry, request_id))
        _reach(registry, request_id, "identified")
    if not registry.get(request_id).waits:
        carry_on(store, registry, request_id)


def carry_on(store: Store, registry: Registry, request_id: str) -> None:
    """Hide what an identified request plainly means, and bring it to its next state; again is fine."""
    if registry.get(request_id).state == "identified" and registry.matches(request_id, "proposed"):
        hide(store, registry, request_id)
        _reach(registry, request_id, "proposed")
    if registry.get(request_id).state in ("identified", "confirmed"):
        tombstone(store, registry, request_id)


def settle(
    store: Store, registry: Registry, request_id: str, *, confirm: Iterable[bytes] = (), reject: Iterable[bytes] = ()
) -> int:
    """Confirm or reject proposals; what is confirmed is hidden at once, with its copies. Return how many are still open.

    When none is, the request is `confirmed` and goes on to `tombstoned`; again is fine. InputError when a uid is no open
    proposal of the request and was not settled so before; then nothing is settled.
    """
    if registry.get(request_id).waits:
        raise InputError(f"request {request_id} waits for an officer; `tamis optout accept` takes it up")
    wanted = dict.fromkeys(reject, "rejected") | dict.fromkeys(confirm, "confirmed")
    known = {match.uid: match for match in registry.matches(request_id)}
    for uid, state in wanted.items():
        if uid not in known or known[uid].state not in ("proposed", state):
            raise InputError(
                f"request {request_id}: {uid.hex()} is not among its open proposals; `tamis optout confirm-match` shows them"
            )
    confirmed = {uid: known[uid] for uid, state in wanted.items() if state == "confirmed"}
    if confirmed and registry.get(request_id).options.get("copies"):
        for uid, match in search_rows.copies(store, confirmed).items():
            if uid not in known:
                registry.add_matches(request_id, [match])
            elif known[uid].state == "proposed":
                wanted.setdefault(uid, "confirmed")
    for uid, state in wanted.items():
        if known[uid].state == "proposed":
            registry.settle_match(request_id, uid, state)
    left = len(registry.matches(request_id, "proposed"))
    hide(store, registry, request_id)
    if left == 0 and registry.get(request_id).state == "proposed":
        registry.advance(request_id, "confirmed")
    if registry.get(request_id).state == "confirmed":
        tombstone(store, registry, request_id)
    return left


def tombstone(store: Store, registry: Registry, request_id: str) -> int:
    """Hide a request's confirmed rows and advance it; the tombstone file comes first, the state after. Return the rows."""
    rows = hide(store, registry, request_id)
    _reach(registry, request_id, "tombstoned", {"rows": rows})
    return rows


def _reach(registry: Registry, request_id: str, state: str, body: Mapping[str, Any] | None = None) -> None:
    """Bring a request to a state; where somebody else who runs the same command has brought it there and further, that is fine."""
    try:
        registry.advance(request_id, state, body=body)
    except InputError:
        if state not in (done for done, _, _ in registry.get(request_id).transitions):
            raise


def hide(store: Store, registry: Registry, request_id: str) -> int:
    """Publish tombstones of a request's confirmed rows; those that are there add nothing. Return how many rows they are."""
    mine = [match for match in registry.matches(request_id, "confirmed") if match.part]
    if mine:
        uids, parts = [match.uid for match in mine], [match.part for match in mine]
        tombstones.publish(store, tombstones.of_request(uids, parts, request_id))
    return len(mine)


def take_up_lists(store: Store, registry: Registry) -> list[str]:
    """Carry out imported lists on what is in the data set already; return the ids of those that concern some of it.

    A list that does becomes a request of kind `list`, so that its erasure is recorded and verified as any other's.
    """
    concerned = []
    for import_id in registry.imports():
        if registry.meta(f"searched {import_id}") is not None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            lists = Suppression.of_owners(registry, [import_id], Path(folder))
            search = search_rows.Search(store, "list", None, lists)
            found = [*search.find().values(), *search.refused().values()]
        if found:
            registry.list_request(import_id)
            registry.add_matches(import_id, found)
            registry.advance(import_id, "identified")
            concerned.append(import_id)
            tombstone(store, registry, import_id)
        registry.remember(f"searched {import_id}", str(len(found)))
    return concerned


def identify(store: Store, registry: Registry, request_id: str, most: int | None = None) -> list[Match]:
    """Return every row of the data set that a request means, sealed facts included; `proposed` ones are for a person.

    With `most`, no more than so many rows are looked into (and copies of those).

    Rows of all snapshots and of none are searched, rows refused at extraction too (their URLs are kept as evidence).
    """
    request = registry.get(request_id)
    told, distance = registry.secret(request_id)["value"], request.options.get("distance")
    with tempfile.TemporaryDirectory() as folder:
        lists = (  # what waits is not in force, so its own entries are none
            Suppression.of_value(request.kind, told, Path(folder))
            if request.waits
            else Suppression.of_owners(registry, [request_id], Path(folder))
        )
        search = search_rows.Search(store, request.kind, told, lists, distance, most=most)
        found, refused = search.find(), search.refused()
    if request.options.get("copies"):
        found |= search_rows.copies(store, found)
    return [*found.values(), *refused.values(), *search.proposals(found)]
