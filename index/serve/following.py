"""What the person who filed a request is told of it: where it stands, since when, and what happens next."""

import json
from typing import Any, Final

from pipeline.registry import clock
from pipeline.registry.registry import Registry
from pipeline.registry.requests import OPEN, Request

_SAYS: Final = {
    "received": ("taken in", "It is looked for in the data set, and a person at the data protection desk looks at it."),
    "identified": (
        "waiting for the desk",
        "A person at the data protection desk looks at it, and accepts or refuses it.",
    ),
    "proposed": (
        "being compared",
        "What was plainly meant is hidden. Pictures that only look alike are compared by a person.",
    ),
    "confirmed": ("accepted", "It is hidden next, from searches, training and later crawls."),
    "tombstoned": ("hidden", "Nobody finds or loads it here any more. Next, its bytes are erased in every file."),
    "erased": (
        "erased",
        "Its bytes are gone. Next, every file is searched to prove that, and what you told us is forgotten.",
    ),
    "closed": ("closed", "It is done: nothing of it was found in any file, and what you told us is forgotten."),
    "withdrawn": ("withdrawn", "It was taken back; it has no effect any more."),
    "refused": ("refused", "You can complain to a data protection authority, or go to court (GDPR art. 12(4))."),
}
_ASKS: Final = {
    "received": ("taken in", "A person at the data protection desk answers it."),
    "identified": ("waiting for an answer", "A person at the data protection desk compares and answers it."),
    "closed": ("answered", "It is answered, and what you told us is forgotten. Ask again whenever you want."),
}
REFUSALS: Final = {
    "not_identifiable": "what was named could not be told apart from other things",
    "identity_not_shown": "it was not shown that the pictures are yours to speak for",
    "not_in_scope": "what was named is not in this data set, or not something the law covers",
    "manifestly_unfounded": "it was manifestly unfounded",
    "excessive": "it asked for more than could be meant",
    "legal_obligation": "the law asks us to keep it",
}


def followed(registry: Registry, request: Request, *, has_report: bool) -> dict[str, Any]:
    """Return a request as its link shows it: nothing that was told, nothing of anybody else's.

    How many rows it means is told once an officer has accepted it: before that, the number could tell a stranger what
    others had hidden.
    """
    title, follows = (_ASKS if request.asks else {}).get(request.state) or _SAYS[request.state]
    now = clock.now_utc()
    return {
        "id": request.id,
        "asks": request.asks,
        "kind": request.kind,
        "state": request.state,
        "title": title,
        "next": follows,
        "open": request.state in OPEN,
        "reason": REFUSALS.get(request.reason or "", request.reason),
        "received_utc": request.received_utc,
        "due_utc": request.deadline_utc,
        "extended": request.extended_due_utc is not None,
        "overdue": request.overdue(now),
        "rows": None if request.asks or request.waits else len(registry.matches(request.id, "confirmed")),
        "answer": _answer(registry, request) if request.asks else None,
        "has_report": has_report,
        "history": [
            {"state": state, "title": _title(request, state), "utc": utc} for state, utc, _ in request.transitions
        ],
    }


def _title(request: Request, state: str) -> str:
    return ((_ASKS if request.asks else {}).get(state) or _SAYS[state])[0]


def _answer(registry: Registry, request: Request) -> dict[str, Any] | None:
    """Return what a question was answered, from the log."""
    for _, text in registry.entries_of(request.id):
        entry = json.loads(text)
        if entry["type"] == "closed":
            return {"found": entry["found"], "rows": entry["rows"]}
    return None
