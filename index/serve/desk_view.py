"""What the desk shows: the queue of requests, and one request with all that an officer needs to decide it."""

from typing import Any, Final

from index.serve.api import MEDIA
from index.serve.catalogue import Served
from index.serve.errors import NotHere
from pipeline import held, sniff
from pipeline.disclosure import erased
from pipeline.erasure.prove import REPORTS
from pipeline.proposals import row_facts
from pipeline.registry import clock
from pipeline.registry.registry import Registry
from pipeline.registry.requests import ANSWERED, MOVES, OPEN, Match, Request

QUEUE_MOST: Final = 500
ROWS_MOST: Final = 200
_DECIDED_BY_OFFICER: Final = ("withdrawn", "refused")


def queue(served: Served, registry: Registry | None, state: str | None, offset: int) -> dict[str, Any]:
    """Return requests, overdue first, then by their deadlines, those that ended last; `state` may be `open` or `overdue` too."""
    now = clock.now_utc()
    every = list(registry.requests()) if registry is not None else []
    chosen = [one for one in every if _is_in(one, state)]
    chosen.sort(key=lambda one: (one.state not in OPEN, one.deadline_utc, one.position))
    hidden = erased.pending(served.store)
    return {
        "now_utc": clock.text(now),
        "counts": {
            "open": sum(one.state in OPEN for one in every),
            "overdue": sum(one.overdue(now) for one in every),
            "waiting": sum(one.waits for one in every),
            **{name: sum(one.state == name for one in every) for name in MOVES},
        },
        "hidden_not_erased": len(hidden),
        "requests": [summary(one) for one in chosen[offset : offset + QUEUE_MOST]],
        "next_offset": offset + QUEUE_MOST if len(chosen) > offset + QUEUE_MOST else None,
    }


def _is_in(request: Request, state: str | None) -> bool:
    if state in (None, "all"):
        return True
    if state == "overdue":
        return request.overdue(clock.now_utc())
    if state == "waiting":
        return request.waits
    return request.state in OPEN if state == "open" else request.state == state


def summary(request: Request) -> dict[str, Any]:
    """Return a request as a line of the queue; nothing personal in it."""
    now = clock.now_utc()
    return {
        "id": request.id,
        "kind": request.kind,
        "category": request.options.get("category"),
        "source": request.source,
        "state": request.state,
        "reason": request.reason,
        "waits": request.waits,
        "asks": request.asks,
        "received_utc": request.received_utc,
        "due_utc": request.deadline_utc,
        "extended": request.extended_due_utc is not None,
        "overdue": request.overdue(now),
        "days_left": (clock.moment(request.deadline_utc) - now).days if request.state in OPEN else None,
    }


def detail(served: Served, registry: Registry, request_id: str, offset: int) -> dict[str, Any]:
    """Return a request with what was told, the rows it means, and the look-alikes to compare."""
    if registry.get(request_id).waits:  # where a kill came between the taking in and the search
        held.look(served.store, registry, request_id)
    request = registry.get(request_id)
    matches = registry.matches(request_id)
    by_state = {
        state: [one for one in matches if one.state == state] for state in ("confirmed", "proposed", "rejected")
    }
    sure = by_state["confirmed"]
    return {
        **summary(request),
        "history": [{"state": state, "utc": utc, "leaf": leaf} for state, utc, leaf in request.transitions],
        "copies": bool(request.options.get("copies")),
        "told": None if request.forgotten else told(registry, request),
        "can": can(request),
        "counts": {"rows": len(sure), "look_alikes": len(by_state["proposed"]), "rejected": len(by_state["rejected"])},
        "too_many_to_list": request.waits and request.state == "received",
        "rows": [_row(served, request, one) for one in sure[offset : offset + ROWS_MOST]],
        "next_offset": offset + ROWS_MOST if len(sure) > offset + ROWS_MOST else None,
        "look_alikes": [_row(served, request, one) for one in sorted(by_state["proposed"], key=_nearest)],
        "has_report": served.store.exists(f"{REPORTS}/{request_id}.json"),
    }


def told(registry: Registry, request: Request) -> dict[str, Any]:
    """Return what the person told us; of a picture its hashes and, where they let us keep one, a small copy."""
    secret = registry.secret(request.id)
    value = secret["value"]
    if isinstance(value, dict):
        value = {name: value[name] for name in ("sha256", "md5", "pdq", "pdq_quality") if name in value}
    return {
        "value": value,
        "contact": secret.get("contact"),
        "note": secret.get("note"),
        "picture": secret.get("evidence"),
    }


def can(request: Request) -> list[str]:
    """Return what an officer can do with a request now."""
    table = ANSWERED if request.asks else MOVES
    ways = [state for state in table.get(request.state, ()) if state in _DECIDED_BY_OFFICER]
    first = {"withdrawn": "withdraw", "refused": "refuse"}
    found = [first[state] for state in ways]
    if request.waits:
        found.insert(0, "answer" if request.asks else "accept")
    if request.state == "proposed":
        found.insert(0, "settle")
    now = clock.text(clock.now_utc())
    if request.state in OPEN and request.extended_due_utc is None and now <= request.due_utc:
        found.append("extend")
    return found


def _nearest(match: Match) -> tuple[float, bytes]:
    return -(match.score or 0.0), match.uid


def _row(served: Served, request: Request, match: Match) -> dict[str, Any]:
    secret = match.secret
    if secret is None and not request.forgotten:  # of look-alikes nothing is sealed: they may be strangers'
        url, text, _ = row_facts(served.store, match)
        secret = {"url": url, "text": text}
    known = secret or {}
    return {
        "uid": match.uid.hex(),
        "how": match.how,
        "score": match.score,
        "state": match.state,
        "url": known.get("url"),
        "text": known.get("text"),
        "hidden": match.uid in served.hidden(),
        "picture": f"/api/v1/desk/{served.name}/requests/{request.id}/pictures/{match.uid.hex()}"
        if match.part
        else None,
    }


def picture(served: Served, registry: Registry, request_id: str, uid: str) -> bytes:
    """Return the stored picture of a row that a request means or may mean, hidden ones too; NotHere for any other."""
    for match in registry.matches(request_id):
        if match.uid.hex() == uid:
            data = row_facts(served.store, match)[2]
            if sniff.kind(data) in MEDIA:  # what is erased is blank
                return data
    raise NotHere("no such picture in this request, or it is erased")
