"""What requests and the desk share in one server: opened registries, sessions, background jobs, and how much a client may file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request

from index.serve.catalogue import Served
from index.serve.jobs import Jobs
from index.serve.rates import Buckets, client_of
from index.serve.sessions import Sessions
from index.serve.settings import Settings
from index.serve.state import State, state_of
from pipeline.errors import ConfigError, InputError
from pipeline.registry import place
from pipeline.registry.registry import Registry


@dataclass
class Office:
    """One of it for each server."""

    sessions: Sessions
    settings: Settings
    jobs: Jobs = field(default_factory=Jobs)
    filing: Lock = field(default_factory=Lock)
    """Held while a request is written down, so that two tries of the same one are not two requests."""
    _registries: dict[str, Registry] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Fill everybody's buckets."""
        self._filed = _buckets(self.settings.filed_per_hour, 3600)
        self._asked = _buckets(self.settings.asked_per_minute, 60)

    def registry(self, served: Served) -> Registry:
        """Return a data set's registry, made by the first request; it stays open."""
        with self._lock:
            if served.name not in self._registries:
                self._registries[served.name] = Registry.open(served.store, self.settings.registry_url)
            return self._registries[served.name]

    def known_registry(self, served: Served) -> Registry | None:
        """Return a data set's registry, or None where nobody has asked for anything yet."""
        return self.registry(served) if place.exists(served.store, self.settings.registry_url) else None

    def may_ask(self, request: Request) -> None:
        """Count a question of a client; 429 when it asks too much."""
        self._take(self._asked, request, "that is a lot of questions")

    def may_file(self, request: Request) -> None:
        """Count a request that a client files; 429 when there are too many."""
        self._take(self._filed, request, "that is a lot of requests from one place")

    def _take(self, buckets: Buckets | None, request: Request, sentence: str) -> None:
        if buckets is None:
            return
        if wait_s := buckets.take(client_of(request.scope, self.settings.trust_proxy), 1.0):
            after = str(int(wait_s) + 1)
            raise HTTPException(429, f"{sentence}; go on in {after} s", {"Retry-After": after})


def one_registry_each(served: Sequence[Served], registry_url: str | None) -> None:
    """Refuse data sets that would share a registry: a request to one would be shown, and could be followed, at the other."""
    owners: dict[str, Served] = {}
    for one in served:
        try:
            address = place.address(one.store, registry_url)
        except ConfigError:  # told when somebody asks for it
            continue
        other = owners.setdefault(address, one)
        if other.store.root != one.store.root:
            raise InputError(
                f"{other.name} and {one.name} would have one registry of requests, and show each other's; serve them by two "
                "commands, each with its own --registry or TAMIS_REGISTRY"
            )


def _buckets(many: float, within_s: float) -> Buckets | None:
    return Buckets(many / within_s, max(1.0, many)) if many > 0 else None


def office_of(request: Request, state: Annotated[State, Depends(state_of)]) -> Office:
    """Return the office of the server that a request came to (FastAPI dependency)."""
    with _MAKING:  # dependencies run in several threads
        office: Office | None = getattr(request.app.state, "office", None)
        if office is None:
            office = Office(Sessions(state.settings.desk_token), state.settings)
            request.app.state.office = office
        return office


_MAKING: Final = Lock()
