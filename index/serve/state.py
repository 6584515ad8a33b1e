"""What the handlers of one server share."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from index.serve.aesthetic import Tastes
from index.serve.batching import Searches
from index.serve.catalogue import Catalogue, Served
from index.serve.metrics import Metrics
from index.serve.overview import Overviews
from index.serve.pictures import Fetches
from index.serve.settings import Settings
from index.serve.warming import Models
from index.serve.work import Work


@dataclass(frozen=True)
class State:
    """One server: its data sets, limits, counters and threads."""

    catalogue: Catalogue
    settings: Settings
    metrics: Metrics
    work: Work
    """For searches and other short work."""
    searches: Mapping[str, Searches]
    """By name of the data set."""
    fetches: Fetches
    models: Models
    overviews: Overviews
    tastes: Tastes
    slow: Work
    """Two threads for what reads much (overview, lineage), so that it holds up no search."""


def state_of(request: Request) -> State:
    """Return the state of the server that a request came to (FastAPI dependency)."""
    state: State = request.app.state.tamis
    return state


def served_of(request: Request, name: str) -> Served:
    """Return the data set that a path names; UnknownDataset (404) otherwise (FastAPI dependency)."""
    return state_of(request).catalogue.get(name)
