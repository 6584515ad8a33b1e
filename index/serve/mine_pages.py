"""The pages "Is this mine?", of a request that is followed, and of the desk: shells without data, as all pages are."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from index.serve.pages import page
from index.serve.state import State, state_of

router = APIRouter(include_in_schema=False)


@router.get("/d/{name}/mine")
def mine(name: str, request: Request) -> Response:
    """Show where people ask whether something of theirs is in a data set."""
    return page(request, "mine.html", dataset=name, here="mine")


@router.get("/d/{name}/mine/{secret}")
def follow(name: str, secret: str, request: Request) -> Response:
    """Show how far a request is; the secret is checked by the API alone, so that this page looks the same for any."""
    return page(request, "follow.html", dataset=name, here="mine")


@router.get("/desk")
def desk(request: Request, state: Annotated[State, Depends(state_of)]) -> Response:
    """Show the data protection officer's desk, where there is one."""
    if state.settings.desk_token is None:
        return page(request, "missing.html", status=404)
    return page(request, "desk.html")
