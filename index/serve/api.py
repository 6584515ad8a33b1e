"""The search half of the JSON API."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from index.interrogate import interrogate
from index.query import Term
from index.serve import sample
from index.serve.answers import ENCODE, json_response, page
from index.serve.asked import query_of
from index.serve.catalogue import Served
from index.serve.models import (
    CaptionsAnswer,
    DatasetAnswer,
    ErrorAnswer,
    OverviewAnswer,
    SampleAnswer,
    SearchAnswer,
    SearchBody,
)  # fmt: skip
from index.serve.overview import about_index
from index.serve.state import State, served_of, state_of
from pipeline import sniff

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The query cannot be answered"},
    404: {"model": ErrorAnswer, "description": "No such data set or sample, or it is not shown any more"},
    422: {"model": ErrorAnswer, "description": "Not the form of a query"},
    429: {"model": ErrorAnswer, "description": "Too many requests of this client"},
    503: {"model": ErrorAnswer, "description": "Too much to do; ask again"},
}
router = APIRouter(prefix="/api/v1", tags=["search"], responses=_ERRORS)
Here = Annotated[State, Depends(state_of)]
Chosen = Annotated[Served, Depends(served_of)]
Uid = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hex digits")]
MEDIA: Final = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@router.get("/datasets", response_model=list[DatasetAnswer])
async def datasets(state: Here) -> list[dict[str, Any]]:
    """List the data sets that are served here."""
    return [_about(served) for served in state.catalogue.all()]


def _about(served: Served) -> dict[str, Any]:
    searcher = served.searcher
    opened, snapshot = searcher.opened, searcher.snapshot
    return {
        "name": served.name,
        "snapshot": snapshot.number,
        "rows": opened.rows,
        "model": str(snapshot.clip.get("model", "")),
        "threshold_cos": float(snapshot.clip["threshold_cos"]),
        "modalities": sorted(opened.record.sides),
        "columns": {name: str(kind) for name, kind in opened.columns.items()},
        "index": about_index(served),
    }


@router.post("/datasets/{name}/search", response_model=SearchAnswer)
async def search(body: SearchBody, served: Chosen, state: Here) -> Response:
    """Find the nearest pictures of a sum of texts, pictures, samples and embeddings."""
    query = await query_of(body, served, state)
    answer = await state.searches[served.name].answer(query, page(served, query))
    state.metrics.searches.labels(served.name).inc()
    return json_response(answer)


@router.get(
    "/datasets/{name}/samples/{uid}/picture",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in MEDIA.values()}}},
)
async def picture(uid: Uid, served: Chosen, state: Here) -> Response:
    """Return a sample's stored picture."""
    data = await state.work.run(sample.picture_of, served, uid)
    return Response(data, media_type=MEDIA.get(sniff.kind(data), "application/octet-stream"))


@router.get("/datasets/{name}/samples/{uid}", response_model=SampleAnswer)
async def one_sample(uid: Uid, served: Chosen, state: Here) -> Response:
    """Tell all that is known of a sample."""
    return json_response(ENCODE(await state.slow.run(sample.told, served, uid, state.settings.registry_url)))


@router.post("/datasets/{name}/captions", response_model=CaptionsAnswer)
async def captions(body: SearchBody, served: Chosen, state: Here) -> Response:
    """Say what a query looks like: the nearest captions, phrases of its neighbours' captions, and a prompt made of them."""
    query = await query_of(body, served, state)
    await state.models.needed(served.name, (Term(text=""),))  # phrases are compared as texts
    found = await state.work.run(interrogate, served.searcher, query)
    return json_response(ENCODE(found.to_json()))


@router.get("/datasets/{name}/overview", response_model=OverviewAnswer)
async def overview(served: Chosen, state: Here) -> Response:
    """Return the report's figures: the funnel by reason, histograms with the threshold, domains, languages."""
    return json_response(ENCODE(await state.slow.run(state.overviews.get, served)))
