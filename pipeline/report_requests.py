"""The report's section on requests: how many of each kind, how far they got, what is due; nothing of what anybody said."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.registry import clock, place
from pipeline.registry.registry import Registry
from pipeline.registry.requests import MOVES, OPEN, Request
from pipeline.store import Store

AGES = ((7, "up to a week"), (31, "up to a month"), (93, "up to three months"))
_SHOWN = 12


@dataclass(frozen=True)
class Due:
    """An open request and when it must be answered."""

    id: str
    kind: str
    state: str
    due: str
    days: int  # left; negative when it is overdue


@dataclass(frozen=True)
class Requests:
    """All requests, counted."""

    total: int
    kinds: Sequence[tuple[str, int, dict[str, int]]]  # kind, requests, state → requests
    states: Sequence[str]  # those that occur, in the order a request goes through them
    ages: Sequence[tuple[str, int]]  # of open ones
    due: Sequence[Due]
    open: int
    overdue: int
    as_of: str = field(default="")

    @property
    def more_due(self) -> int:
        """Return how many open requests are not shown."""
        return self.open - len(self.due)


def gather(store: Store, now: datetime | None = None) -> Requests | None:
    """Count the data set's requests; None where it has no registry."""
    if not place.exists(store):
        return None
    moment = now or clock.now_utc()
    by_kind: dict[str, Counter[str]] = {}
    waiting: list[Request] = []
    for request in Registry.open(store).requests():
        by_kind.setdefault(request.kind, Counter())[request.state] += 1
        if request.state in OPEN:
            waiting.append(request)
    waiting.sort(key=lambda request: (request.deadline_utc, request.id))
    seen = Counter[str]()
    for states in by_kind.values():
        seen.update(states)
    kinds = [(kind, states.total(), dict(states)) for kind, states in by_kind.items()]
    return Requests(
        total=seen.total(),
        kinds=sorted(kinds, key=lambda item: (-item[1], item[0])),
        states=[state for state in MOVES if seen[state]],
        ages=_ages(waiting, moment),
        due=[_due(request, moment) for request in waiting[:_SHOWN]],
        open=len(waiting),
        overdue=sum(1 for request in waiting if request.overdue(moment)),
        as_of=clock.text(moment),
    )


def _ages(waiting: Sequence[Request], now: datetime) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for request in waiting:
        days = (now - clock.moment(request.received_utc)).days
        counts[next((name for most, name in AGES if days <= most), "older")] += 1
    return [(name, counts[name]) for name in (*(name for _, name in AGES), "older") if counts[name]]


def _due(request: Request, now: datetime) -> Due:
    until = clock.moment(request.deadline_utc)
    return Due(request.id, request.kind, request.state, request.deadline_utc[:10], (until - now).days)
