"""The search half of the JSON API."""

from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from index.serve.answers import json_response, page
from index.serve.asked import query_of
from index.serve.catalogue import Served
from index.serve.errors import NotHere
from index.serve.models import DatasetAnswer, ErrorAnswer, SearchAnswer, SearchBody
from index.serve.state import State, served_of, state_of
from pipeline import sniff
from pipeline.ids import faiss_id

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
        "modalities": ["image"],
        "columns": {name: str(kind) for name, kind in opened.columns.items()},
        "index": {"kind": opened.record.kind, "dimensions": opened.record.dimensions},
    }


@router.post("/datasets/{name}/search", response_model=SearchAnswer)
async def search(body: SearchBody, served: Chosen, state: Here) -> Response:
    """Find the nearest pictures of a sum of texts, pictures, samples and embeddings."""
    query = await query_of(body, state)
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
    data = await state.work.run(_picture, served, uid)
    return Response(data, media_type=MEDIA.get(sniff.kind(data), "application/octet-stream"))


def _picture(served: Served, uid: str) -> bytes:
    gone = NotHere(f"no sample {uid} in this data set")
    with served.searcher.using() as opened:
        ids = np.array([faiss_id(bytes.fromhex(uid))], np.int64)
        if not opened.having(ids).all() or opened.facts(ids, ["key"])["key"][0].as_py() != uid:
            raise gone
        data = opened.pictures(ids)[0]
    if data is None or bytes.fromhex(uid) in served.hidden():  # asked last: reading takes its time
        raise gone
    return data
