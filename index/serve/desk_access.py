"""Who gets to the desk, and what its handlers share."""

from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request

from index.serve.catalogue import Served
from index.serve.errors import NotHere
from index.serve.models import ErrorAnswer
from index.serve.office import Office, office_of
from index.serve.state import State, served_of, state_of
from pipeline.errors import InputError
from pipeline.registry.registry import Registry

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "Not a move that is possible now"},
    401: {"model": ErrorAnswer, "description": "Not signed in, or a wrong token"},
    403: {"model": ErrorAnswer, "description": "The CSRF token is missing or stale"},
    404: {"model": ErrorAnswer, "description": "No desk here, no such data set, or no such request in it"},
    409: {"model": ErrorAnswer, "description": "Another run or erasure holds the data set"},
    429: {"model": ErrorAnswer, "description": "Too many wrong tokens"},
}
Here = Annotated[State, Depends(state_of)]
Work = Annotated[Office, Depends(office_of)]
RequestId = Annotated[str, Path(alias="id", max_length=40)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]


def officer(request: Request, office: Work) -> None:
    """Let nobody in but who is signed in; a write needs the CSRF token besides (FastAPI dependency)."""
    (office.sessions.of if request.method in ("GET", "HEAD") else office.sessions.writing)(request)


def desk_set(request: Request, name: str, office: Work) -> Served:
    """Return the data set of a path, to an officer only (FastAPI dependency)."""
    officer(request, office)
    return served_of(request, name)


Chosen = Annotated[Served, Depends(desk_set)]


def having(served: Served, office: Office, request_id: str) -> Registry:
    """Return the registry that has a request; NotHere when the data set's has not, whatever another one's has."""
    registry = office.known_registry(served)
    try:
        if registry is not None:
            registry.get(request_id)
            return registry
    except InputError:
        pass
    raise NotHere("no such request in this data set")
