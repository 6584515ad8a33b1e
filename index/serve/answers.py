"""From hits to JSON, without a detour over models: answers are what the server makes most of."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from index.hits import Hit
from index.query import Query
from index.serve.batching import Render
from index.serve.catalogue import Served

ENCODE: Final = msgspec.json.Encoder().encode


def json_response(body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return encoded JSON as a response."""
    return Response(body, media_type="application/json", headers=headers)


def shown(name: str, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits as models.FoundHit describes them; `name` is the data set's."""
    base = f"/api/v1/datasets/{name}/samples/"
    return [
        {
            "uid": hit.uid, "url": hit.url, "caption": hit.caption, "cos": hit.cos, "width": hit.width,
            "height": hit.height, "page_url": hit.page_url, "domain": hit.domain, "clip_cos": hit.clip_cos,
            "picture": f"{base}{hit.uid}/picture",
        }
        for hit in hits
    ]  # fmt: skip


def page(served: Served, query: Query) -> Render:
    """Return what makes models.SearchAnswer of a query's hits."""

    def render(hits: Sequence[Hit]) -> bytes:
        snapshot = served.searcher.snapshot
        end = query.offset + len(hits)
        return ENCODE(
            {
                "snapshot": snapshot.number,
                "threshold_cos": float(snapshot.clip["threshold_cos"]),
                "hits": shown(served.name, hits),
                "next_offset": end if len(hits) == query.k else None,
            }
        )

    return render
