"""Is it up, and how is it doing."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from index.serve.state import State, state_of

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the server answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(state: Annotated[State, Depends(state_of)]) -> Response:
    """Tell Prometheus counts, latencies and sizes."""
    body, media_type = await state.work.run(state.metrics.exposition, state.catalogue)
    return Response(body, media_type=media_type)
