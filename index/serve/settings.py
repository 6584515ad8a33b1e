"""What a server is told when it starts, in one frozen record."""

from dataclasses import dataclass
from typing import Final

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and trust; the defaults are safe for a server that strangers reach."""

    title: str = "tamis"
    host: str = "127.0.0.1"
    port: int = 8000
    host_names: tuple[str, ...] = ()
    """Host headers that are answered; absent: loopback's names where the server is bound to loopback, else any."""
    allow_origins: tuple[str, ...] = ()
    """Web origins whose pages may call the search API (CORS); `*` for all. What writes is never opened to others."""
    trust_proxy: bool = False
    """Take the client's address from the last X-Forwarded-For entry: only behind a proxy that sets it."""
    desk_token: str | None = None
    """The data protection officer's token; without one there is no desk."""
    trust_requests: bool = False
    """Requests from the web act at once, without an officer's confirmation."""
    registry_url: str | None = None
    allow_hosts: tuple[str, ...] = ()
    """Private hosts whose pictures `image_url` may name (host, host:port, address or network)."""
    contact: str = ""
    """Named in the User-Agent when a picture is fetched for a query."""
    inline_pictures: bool = False
    """clip-retrieval's API sends the stored pictures along (base64)."""
    filed_per_hour: float = 10.0
    """Opt-outs and questions to the desk that one client may file, as many at once; 0 for no limit."""
    asked_per_minute: float = 30.0
    """"Is this mine?" of one client; each reads the tables of the data set once. 0 for no limit."""
    rate_per_s: float = 50.0
    """Requests of one client per second, in the long run; 0 for no limit. A picture or static file counts a tenth."""
    burst: float = 200.0
    max_body_bytes: int = 12_000_000
    body_s: float = 20.0
    """A body must have come by then."""
    max_picture_bytes: int = 8_000_000
    max_picture_px: int = 50_000_000
    max_k: int = 10_000
    threads: int = 2
    waiting: int = 256
    """Pieces of work that may wait for a thread; more are answered 503."""
    work_s: float = 20.0
    model_s: float = 120.0
    """How long a text or picture waits for the model to be loaded."""
    fetch_s: float = 10.0
    warm: bool = True
    """Load the models at the start, not for the first text or picture."""
    refresh_s: float = 1.0
    """How often a newer snapshot is looked for."""
    connections: int = 1024
    """Connections at once; more are answered 503."""

    @property
    def answered_hosts(self) -> frozenset[str]:
        """Return the host names that are answered, lower-case; empty for all."""
        if self.host_names:
            return frozenset(name.lower() for name in self.host_names)
        return LOOPBACK | {self.host} if self.host in LOOPBACK or self.host.startswith("127.") else frozenset()
