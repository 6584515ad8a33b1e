"""The API of the data protection officer's desk. Without a token for it the server has no desk, and all of this is 404."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from index.serve import desk_moves, desk_view, desk_work
from index.serve.api import MEDIA
from index.serve.desk_access import ERRORS, Chosen, Here, Offset, RequestId, Work, having, officer
from index.serve.errors import NotHere
from index.serve.sessions import drop_cookie, set_cookie
from pipeline import sniff
from pipeline.disclosure import notices
from pipeline.erasure.prove import REPORTS
from pipeline.registry.receipts import receipt

router = APIRouter(prefix="/api/v1/desk", tags=["desk"], responses=ERRORS)
router.include_router(desk_moves.router)


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Token(_Sent):
    """What an officer signs in with."""

    token: Annotated[str, Field(max_length=1_000)]


class WhichRequest(_Sent):
    """One request; all that wait when absent."""

    request: Annotated[str, Field(max_length=40)] | None = None


@router.post("/session", response_model=dict[str, Any])
async def sign_in(body: Token, request: Request, office: Work, state: Here) -> JSONResponse:
    """Sign in; the answer holds the CSRF token that every write needs in `X-CSRF-Token`."""
    if not office.sessions.exists:
        raise NotHere("there is no desk here")
    cookie, session = await office.sessions.sign_in(body.token)
    answer = JSONResponse({"csrf": session.csrf, "datasets": state.catalogue.names})
    set_cookie(answer, request, cookie)
    return answer


@router.get("/session", response_model=dict[str, Any])
async def session(request: Request, office: Work, state: Here) -> dict[str, Any]:
    """Tell a signed-in browser its CSRF token again, after a reload; any other that it is not signed in."""
    if not office.sessions.exists:
        raise NotHere("there is no desk here")
    known = office.sessions.known(request)
    return {"csrf": known.csrf, "datasets": state.catalogue.names} if known else {"csrf": None}


@router.post("/session/end", response_model=dict[str, Any], dependencies=[Depends(officer)])
async def sign_out(request: Request, office: Work) -> JSONResponse:
    """Sign out."""
    office.sessions.sign_out(request)
    answer = JSONResponse({"signed_in": False})
    drop_cookie(answer, request)
    return answer


@router.get("/{name}/requests", response_model=dict[str, Any])
async def queue(
    served: Chosen,
    state: Here,
    office: Work,
    at: Annotated[str | None, Query(alias="state")] = None,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return the queue: overdue first, then by deadline."""
    return await state.work.run(lambda: desk_view.queue(served, office.known_registry(served), at, offset))


@router.get("/{name}/requests/{id}", response_model=dict[str, Any])
async def one(request_id: RequestId, served: Chosen, state: Here, office: Work, offset: Offset = 0) -> dict[str, Any]:
    """Return a request with what was told, the rows it means, and the look-alikes to compare."""
    return await state.slow.run(
        lambda: desk_view.detail(served, having(served, office, request_id), request_id, offset)
    )


@router.get("/{name}/requests/{id}/pictures/{uid}", response_class=Response)
async def picture(request_id: RequestId, uid: str, served: Chosen, state: Here, office: Work) -> Response:
    """Return the stored picture of a row that a request means, hidden or not."""
    data = await state.work.run(lambda: desk_view.picture(served, having(served, office, request_id), request_id, uid))
    return Response(data, media_type=MEDIA.get(sniff.kind(data), "application/octet-stream"))


@router.get("/{name}/requests/{id}/receipt", response_model=dict[str, Any])
async def receipt_of(request_id: RequestId, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Return a request's receipt as of now."""
    made = await state.work.run(lambda: receipt(having(served, office, request_id), request_id))
    return JSONResponse(made, headers={"Content-Disposition": f'attachment; filename="receipt-{request_id}.json"'})


@router.get("/{name}/requests/{id}/report", response_model=dict[str, Any])
async def report_of(request_id: RequestId, served: Chosen, state: Here, office: Work) -> JSONResponse:
    """Return the signed report of a request's erasure."""

    def read() -> dict[str, Any]:
        having(served, office, request_id)
        try:
            return dict(json.loads(served.store.read(f"{REPORTS}/{request_id}.json")))
        except FileNotFoundError:
            raise NotHere("there is no report yet; verify the erasure first") from None

    made = await state.work.run(read)
    return JSONResponse(made, headers={"Content-Disposition": f'attachment; filename="erasure-{request_id}.json"'})


@router.post("/{name}/apply", status_code=202, response_model=dict[str, Any])
async def apply(served: Chosen, office: Work) -> dict[str, Any]:
    """Begin to erase what is hidden; a second call while it runs returns the same job."""
    registry = office.registry(served)
    return office.jobs.start(
        served.name, "erase", lambda note: desk_work.erase_hidden(served, registry, note)
    ).to_json()


@router.post("/{name}/verify", status_code=202, response_model=dict[str, Any])
async def verify(body: WhichRequest, served: Chosen, office: Work) -> dict[str, Any]:
    """Begin to search every byte for what was erased; requests of which nothing is left are closed and forgotten."""
    if body.request:
        having(served, office, body.request)
    url = office.settings.registry_url
    work = office.jobs.start(
        served.name, "verify", lambda note: desk_work.prove_erased(served, url, body.request, note)
    )
    return work.to_json()


@router.get("/{name}/job", response_model=dict[str, Any])
async def job(served: Chosen, office: Work) -> dict[str, Any]:
    """Return what runs on a data set in the background, or ran last."""
    found = office.jobs.newest(served.name)
    return {"job": found.to_json() if found is not None else None}


@router.get("/{name}/notices", response_model=dict[str, Any])
async def notices_of(served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Return the notices to recipients of releases, and how far each got."""

    def read() -> dict[str, Any]:
        registry = office.known_registry(served)
        found = notices.report(served.store, registry) if registry is not None else []
        return {"notices": found, "summary": notices.summary(found)}

    return await state.work.run(read)


@router.post("/{name}/notices", response_model=dict[str, Any])
async def write_notices(served: Chosen, state: Here, office: Work) -> dict[str, Any]:
    """Write a notice for every recipient that holds what was erased since it got it; again adds nothing."""
    return await state.slow.run(lambda: desk_work.write_notices(served, office.registry(served)))


@router.get("/{name}/notices/{who}/{file}", response_class=Response)
async def notice(who: str, file: str, served: Chosen, state: Here, office: Work) -> Response:
    """Return a notice as its recipient gets it (NDJSON)."""

    def read() -> bytes:
        registry = office.known_registry(served)
        wanted = f"{notices.FOLDER}/{who}/{file}.ndjson"
        known = [told["file"] for told in notices.report(served.store, registry)] if registry is not None else []
        if wanted not in known:
            raise NotHere("no such notice")
        return served.store.read(wanted)

    data = await state.work.run(read)
    headers = {"Content-Disposition": 'attachment; filename="notice.ndjson"'}
    return Response(data, media_type="application/x-ndjson", headers=headers)
