"""Which names the server answers to: a page that made its own name point here (DNS rebinding) gets nothing."""

from starlette.types import ASGIApp, Receive, Scope, Send

from index.serve.errors import told


class KnownHosts:
    """Answer 421 where the Host header is none of the names; no names, no check."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self.names:
            given = [value for name, value in scope["headers"] if name == b"host"]
            if len(given) != 1 or host_name(given[0].decode("latin-1")) not in self.names:
                await told(421, "this server does not go by that name; see --allow-host")(scope, receive, send)
                return
        await self.app(scope, receive, send)


def host_name(header: str) -> str:
    """Return the name in a Host header without its port and brackets, lower-case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
