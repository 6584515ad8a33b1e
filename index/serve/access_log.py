"""One JSON line a request without personal data: no address, no query, no name of what was asked; and the counts of `/metrics`."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.serve.metrics import Metrics

UNKNOWN = "(unknown)"


class AccessLog:
    """Note method, route template, status, milliseconds and bytes of every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, write: Callable[[str], None] | None) -> None:
        self.app, self.metrics, self.write = app, metrics, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start_s, status, sent_bytes = time.perf_counter(), 0, 0

        async def noted(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            took_s = time.perf_counter() - start_s
            route, method = template(scope), scope["method"] if scope["method"] in _METHODS else "OTHER"
            self.metrics.request(method, route, status or 499, took_s)
            if self.write is not None:
                line = {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "method": method, "route": route}
                line |= {"status": status or 499, "ms": round(took_s * 1000, 2), "bytes": sent_bytes}
                self.write(json.dumps(line))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def template(scope: Scope) -> str:
    """Return the route's pattern, which names nobody; what has no route is `(unknown)`."""
    context = scope.get("fastapi", {})
    route = context.get("effective_route_context") if isinstance(context, dict) else None
    route = route or scope.get("route")
    return str(getattr(route, "path", UNKNOWN))
