"""What strangers file waits for an officer: a page cannot know who somebody is, and a name may cover other people's rows.

Until then it has no effect at all: nothing is hidden, and no ingest obeys it. Else anybody could empty a data set by naming
its largest sites, or hide a competitor's pictures.
"""

from collections.abc import Iterable
from typing import Any, Final

from pipeline.errors import InputError
from pipeline.identify import carry_on, identify
from pipeline.registry.registry import Registry
from pipeline.store import Store

MOST: Final = 10_000
"""Rows that are noted for a waiting request (about 5 MB); one that means more stays `received` until it is accepted.

Of a question, so many and no more are counted.
"""


def look(store: Store, registry: Registry, request_id: str) -> None:
    """Note what a waiting request means, for the officer to see; again is fine."""
    if registry.get(request_id).state == "received":
        found = identify(store, registry, request_id, most=MOST + 1)
        if len(found) <= MOST or registry.get(request_id).asks:
            registry.add_matches(request_id, found[:MOST])
            registry.advance(request_id, "identified")


def accept(store: Store, registry: Registry, request_id: str) -> None:
    """Take a waiting request up as if its sender were known: ingests obey it from now on, what it plainly means is hidden.

    One that was accepted before is carried on with, wherever a kill stopped it. InputError for one that only asks.
    """
    found = registry.get(request_id)
    if found.asks:
        raise InputError(f"request {request_id} only asks whether something is in the data set; answer it")
    if not found.waits:
        return
    registry.accept(request_id)  # first, so that nothing slips in between the search and the block
    registry.add_matches(request_id, identify(store, registry, request_id))
    if found.state == "received":
        registry.advance(request_id, "identified")
    carry_on(store, registry, request_id)


def answer(
    store: Store, registry: Registry, request_id: str, *, confirm: Iterable[bytes] = (), reject: Iterable[bytes] = ()
) -> dict[str, Any]:
    """Answer a question with what was found and which look-alikes a person confirmed, close it and forget who asked.

    Returns {"found": "yes" or "no", "rows": n}; it stands in the log. InputError while look-alikes are open.
    """
    asked = registry.get(request_id)
    if not asked.asks:
        raise InputError(f"request {request_id} asks to be left out; accept or refuse it")
    if asked.state == "closed":  # a kill came before the key's end
        registry.shred(request_id)
        return {}
    look(store, registry, request_id)
    for uids, state in ((confirm, "confirmed"), (reject, "rejected")):
        for uid in uids:
            registry.settle_match(request_id, uid, state)
    if registry.matches(request_id, "proposed"):
        raise InputError(f"request {request_id} has look-alikes that nobody has compared yet")
    rows = len(registry.matches(request_id, "confirmed"))
    said = {"found": "yes" if rows else "no", "rows": rows}
    registry.advance(request_id, "closed", body=said)
    registry.shred(request_id)
    return said
