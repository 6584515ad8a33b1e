"""What requests and the desk share in one server: opened registries, sessions, background jobs, and how much a client may file."""

from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request

from index.serve.catalogue import Served
from index.serve.jobs import Jobs
from index.serve.rates import Buckets, client_of
from index.serve.sessions import Sessions
from index.serve.state import State, state_of
from pipeline.registry import place
from pipeline.registry.registry import Registry

FILED_AT_ONCE: Final = 10
FILED_PER_HOUR: Final = 10
ASKED_AT_ONCE: Final = 30
ASKED_PER_MINUTE: Final = 30
"""Each question reads the data set's tables once."""


@dataclass
class Office:
    """One of it for each server."""

    sessions: Sessions
    registry_url: str | None
    trust_proxy: bool
    jobs: Jobs = field(default_factory=Jobs)
    _filed: Buckets = field(default_factory=lambda: Buckets(FILED_PER_HOUR / 3600, FILED_AT_ONCE))
    _asked: Buckets = field(default_factory=lambda: Buckets(ASKED_PER_MINUTE / 60, ASKED_AT_ONCE))
    _registries: dict[str, Registry] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def registry(self, served: Served) -> Registry:
        """Return a data set's registry, made by the first request; it stays open."""
        with self._lock:
            if served.name not in self._registries:
                self._registries[served.name] = Registry.open(served.store, self.registry_url)
            return self._registries[served.name]

    def known_registry(self, served: Served) -> Registry | None:
        """Return a data set's registry, or None where nobody has asked for anything yet."""
        return self.registry(served) if place.exists(served.store, self.registry_url) else None

    def may_ask(self, request: Request) -> None:
        """Count a question of a client; 429 when it asks too much."""
        self._take(self._asked, request, "that is a lot of questions")

    def may_file(self, request: Request) -> None:
        """Count a request that a client files; 429 when there are too many."""
        self._take(self._filed, request, "that is a lot of requests from one place")

    def _take(self, buckets: Buckets, request: Request, sentence: str) -> None:
        if wait_s := buckets.take(client_of(request.scope, self.trust_proxy), 1.0):
            after = str(int(wait_s) + 1)
            raise HTTPException(429, f"{sentence}; go on in {after} s", {"Retry-After": after})


def office_of(request: Request, state: Annotated[State, Depends(state_of)]) -> Office:
    """Return the office of the server that a request came to (FastAPI dependency)."""
    with _MAKING:  # dependencies run in several threads
        office: Office | None = getattr(request.app.state, "office", None)
        if office is None:
            settings = state.settings
            office = Office(Sessions(settings.desk_token), settings.registry_url, settings.trust_proxy)
            request.app.state.office = office
        return office


_MAKING: Final = Lock()
