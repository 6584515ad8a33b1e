"""The API of "Is this mine?": ask, file a request, follow it by its link."""

import json
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Request
from starlette.responses import JSONResponse

from index.query import Term
from index.serve.catalogue import Served
from index.serve.confirming import answer
from index.serve.errors import LOG, Closed, NotHere
from index.serve.filing import Filed, Named, blank, link_of, named, sealed_copy
from index.serve.following import followed
from index.serve.models import ErrorAnswer
from index.serve.office import Office, office_of
from index.serve.state import State, served_of, state_of
from pipeline import held
from pipeline.erasure.prove import REPORTS
from pipeline.errors import ConfigError
from pipeline.identify import take_up
from pipeline.registry.links import follow, fresh_secret, new_link
from pipeline.registry.receipts import receipt
from pipeline.registry.registry import Registry
from pipeline.registry.requests import QUESTION, WEB

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "Not something that can be looked for"},
    404: {"model": ErrorAnswer, "description": "No such data set, or a link that leads nowhere"},
    413: {"model": ErrorAnswer, "description": "Too large"},
    422: {"model": ErrorAnswer, "description": "Not the form of a request"},
    429: {"model": ErrorAnswer, "description": "Too many requests of this client"},
    501: {"model": ErrorAnswer, "description": "This server has no place for requests"},
    503: {"model": ErrorAnswer, "description": "Too much to do; ask again"},
}
router = APIRouter(prefix="/api/v1/datasets/{name}", tags=["requests"], responses=_ERRORS)
Here = Annotated[State, Depends(state_of)]
Chosen = Annotated[Served, Depends(served_of)]
Work = Annotated[Office, Depends(office_of)]
Secret = Annotated[str, Path(max_length=100, description="The last part of the link that was given to you")]
TryKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern="^[A-Za-z0-9_-]{22,128}$",
        description="At least 128 random bits, the same for every try of one request: it is then filed once. Keep it to yourself, "
        "since the request's link is made of it.",
    ),
]


@router.post("/mine", response_model=dict[str, Any])
async def mine(body: Named, request: Request, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Answer whether something is in the data set: yes, no or unknown, with the rows, and what was searched to say so."""
    office.may_ask(request)
    await _model(body, served, state)
    return JSONResponse(await state.slow.run(_mine, body, served, state, office))


async def _model(body: Named, served: Served, state: State) -> None:
    """Wait for the model where a picture has to be looked at, without holding up a thread."""
    if body.image is not None:
        await state.models.needed(served.name, [Term(picture=b"")])


def _mine(body: Named, served: Served, state: State, office: Office) -> dict[str, Any]:
    kind, value, _ = named(body, served.store, state.settings)
    return answer(served, kind, value, office.known_registry(served))


@router.post("/requests", status_code=201, response_model=dict[str, Any])
async def file(
    body: Filed, request: Request, served: Chosen, state: Here, office: Work, try_key: TryKey = None
) -> JSONResponse:
    """File a request; the answer holds its receipt, and the link by which only you follow it.

    An officer looks at it first, since nobody can know here who you are; with `--trust-requests` it acts at once. Whoever gets
    no answer tries again with the same `Idempotency-Key` and the same words, and is answered for the same request.
    """
    office.may_file(request)
    await _model(body, served, state)
    made = await state.slow.run(_file, body, served, state, office, try_key)
    return JSONResponse(made, 201)


def _file(body: Filed, served: Served, state: State, office: Office, try_key: str | None) -> dict[str, Any]:
    words = sha256(body.model_dump_json().encode()).hexdigest()
    secret = fresh_secret(None if try_key is None else f"{try_key}\0{served.name}\0{words}")
    registry, filed = _written(body, served, state, office, secret)
    now = registry.get(filed)
    if now.state in ("received", "identified"):  # not yet, where a kill came between
        (held.look if now.waits else take_up)(served.store, registry, now.id)
        now = registry.get(now.id)
    return {
        "id": now.id,
        "state": now.state,
        "due_utc": now.deadline_utc,
        "link": link_of(served.name, secret),
        "receipt": receipt(registry, now.id),
    }


def _written(body: Filed, served: Served, state: State, office: Office, secret: str) -> tuple[Registry, str]:
    """Write a request and its link into the registry and return both; one that was written in an earlier try is found."""
    kind, value, data = named(body, served.store, state.settings)
    registry = _open_registry(served, office)
    asks = body.wants == "answer"
    with office.filing:
        before = follow(registry, secret)
        if before is not None:
            return registry, before
        made = registry.add(
            kind,
            value,
            source=WEB,
            contact=blank(body.contact),
            note=blank(body.reason),
            category=QUESTION if asks else body.category,
            copies=body.copies,
            held=not state.settings.trust_requests,
            evidence=sealed_copy(data) if body.show_picture else None,
        )
        new_link(registry, made.id, secret)
    return registry, made.id


def _open_registry(served: Served, office: Office) -> Registry:
    """Return a registry that can sign receipts; Closed where there is none: what nobody could follow is not filed."""
    try:
        registry = office.registry(served)
        registry.ready()
    except ConfigError as error:
        LOG.error("%s: a request could not be taken: %s", served.name, error)
        told = "no requests can be taken here; nothing was filed. Please write to whoever runs this server"
        raise Closed(told) from error
    return registry


@router.get("/requests/{secret}", response_model=dict[str, Any])
async def state_of_request(secret: Secret, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Tell how far a request is, what happens next, and until when."""
    return JSONResponse(await state.work.run(_followed, secret, served, office))


def _followed(secret: str, served: Served, office: Office) -> dict[str, Any]:
    registry, id_ = _found(secret, served, office)
    return followed(registry, registry.get(id_), has_report=served.store.exists(f"{REPORTS}/{id_}.json"))


@router.get("/requests/{secret}/receipt", response_model=dict[str, Any])
async def receipt_of_request(secret: Secret, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Return the receipt as of now; `tamis optout check-receipt FILE` checks it offline."""
    made = await state.work.run(lambda: receipt(*_found(secret, served, office)))
    return JSONResponse(made, headers={"Content-Disposition": 'attachment; filename="receipt.json"'})


@router.get("/requests/{secret}/report", response_model=dict[str, Any])
async def report_of_request(secret: Secret, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Return the signed report of the erasure, once it was verified."""
    made = await state.work.run(_report, secret, served, office)
    return JSONResponse(made, headers={"Content-Disposition": 'attachment; filename="erasure-report.json"'})


def _report(secret: str, served: Served, office: Office) -> dict[str, Any]:
    _, id_ = _found(secret, served, office)
    try:
        signed: dict[str, Any] = json.loads(served.store.read(f"{REPORTS}/{id_}.json"))
    except FileNotFoundError:
        raise NotHere("there is no report yet; it is written when the erasure was verified") from None
    return signed


def _found(secret: str, served: Served, office: Office) -> tuple[Registry, str]:
    """Return the registry and the id of the request that a link leads to; a wrong link and an old one look the same."""
    registry = office.known_registry(served)
    id_ = follow(registry, secret) if registry is not None else None
    if registry is None or id_ is None:
        raise NotHere("this link leads to no request; please check that it is complete")
    return registry, id_
