"""How much one client may ask: a token bucket each (RFC 6585 section 4: 429 with Retry-After)."""

import ipaddress
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from index.serve.errors import told

_LIGHT: Final = re.compile(r"/static/|/healthz$|/metrics$|.*/picture$")
_WITH_PORT: Final = re.compile(r"^(?:\[([^]]*)\](?::\d+)?|([\d.]+):\d+)$")
"""An address as some proxies write it, with the port of the connection: that would make every connection a client of its own."""
_LIGHT_COST: Final = 0.1
_MOST_CLIENTS: Final = 50_000


class Buckets:
    """Full at first, filled at `rate_per_s`; those asked longest ago are forgotten, and they are the fullest."""

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate_per_s, self.burst, self._clock = rate_per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float) -> float:
        """Take `cost` tokens; return 0, or the seconds until there are enough."""
        now_s = self._clock()
        left, at_s = self._left.pop(client, (self.burst, now_s))
        left = min(self.burst, left + (now_s - at_s) * self.rate_per_s)
        wait_s = max(0.0, (cost - left) / self.rate_per_s)
        self._left[client] = (left if wait_s else left - cost, now_s)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return wait_s


class RateLimit:
    """Answer 429 to a client that asks too much. Addresses are kept in memory only, those of IPv6 by their /64."""

    def __init__(self, app: ASGIApp, rate_per_s: float, burst: float, trust_proxy: bool) -> None:
        self.app, self.trust_proxy = app, trust_proxy
        self.buckets = Buckets(rate_per_s, burst) if rate_per_s > 0 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self.buckets is not None:
            cost = _LIGHT_COST if _LIGHT.match(scope["path"]) else 1.0
            wait_s = self.buckets.take(client_of(scope, self.trust_proxy), cost)
            if wait_s:
                after = str(math.ceil(wait_s))
                answer = told(429, f"too many requests; ask again in {after} s", {"Retry-After": after})
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


def client_of(scope: Scope, trust_proxy: bool) -> str:
    """Return what a client is told apart by: its address, of IPv6 the /64 that one customer has."""
    address = scope["client"][0] if scope.get("client") else ""
    if trust_proxy:
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if said:  # the last entry is the proxy's own; those before it are the client's words
            address = _WITH_PORT.sub(r"\1\2", said[-1].decode("latin-1").rsplit(",", 1)[-1].strip())
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
