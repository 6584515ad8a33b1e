"""Which answers pages of other origins may read: those of searches, and only where the server was told so."""

import re
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_SEARCHES: Final = re.compile(
    r"/(knn-service|metadata|indices-list|api/v1/datasets(/[^/]+/(search|captions|samples/[^/]+(/picture)?|overview))?)"
)


class ReadableByOthers:
    """Add CORS headers for the origins named to the search API, never to what writes, and never with credentials."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self.app = app
        self.open = CORSMiddleware(
            app, allow_origins=origins, allow_methods=("GET", "POST"), allow_headers=("Content-Type",), max_age=600
        )
        self.any = bool(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self.any and scope["type"] == "http" and _SEARCHES.fullmatch(scope["path"]):
            await self.open(scope, receive, send)
        else:
            await self.app(scope, receive, send)
