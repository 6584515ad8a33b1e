"""What a fetch depends on, in one frozen record; names and defaults are those of the configuration's [fetch]."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from filters.policy import ReleasePolicy
from pipeline.image import MAX_PX, Format, Shape
from pipeline.resize import Mode

VERSION: Final = "0.1"
# Say how the result is got, not what it is: another value must not fetch everything again.
_NOT_IDENTITY: tuple[str, ...] = (
    "allow_hosts",
    "hosts",
    "timeout_s",
    "retries",
    "concurrency",
    "host_concurrency",
    "threads",
)
_NOT_IDENTITY += ("connect_s", "decode_s", "budget_bytes", "decode_px", "breaker_failures", "breaker_s")
_NOT_IDENTITY += ("policy",)  # another policy judges what was heard again, see tasks.fetch
_HEARD: Final = 2  # version of what is listened to: a newer one must hear those already fetched again


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Hold the options of one part's fetch."""

    engine: Literal["tamis", "img2dataset"] = "tamis"
    from_warc: bool = True
    allow_hosts: Sequence[str] = ()  # host, host:port, address or network (CIDR) that may be private
    user_agent_token: str = "tamis"  # noqa: S105 (RFC 9309 calls a crawler's name so)
    contact: str = ""
    disallowed: Sequence[str] = ("noai", "noimageai", "noindex", "noimageindex")
    robots: bool = True
    policy: ReleasePolicy = field(default_factory=ReleasePolicy)
    timeout_s: float = 30.0  # one URL, with its redirects, waits and retries
    max_bytes: int = 20_000_000
    max_px: int = MAX_PX
    retries: int = 2
    concurrency: int = 64
    host_concurrency: int = 8
    resize_px: int = 256
    resize_mode: Mode = "keep_ratio"
    upscale: bool = False
    encode_format: Format = "jpg"
    encode_quality: int = 95
    hashes: bool = True  # phash64 and PDQ
    md5: bool = True
    threads: int = 2
    hosts: Mapping[str, str] = field(default_factory=dict)  # name -> address, asked before DNS (curl's --resolve)
    min_original_bytes: int = 0
    max_redirects: int = 10
    connect_s: float = 10.0
    decode_s: float = 60.0
    budget_bytes: int = 256_000_000  # bodies held in memory at once, give or take one
    decode_px: int = 100_000_000  # pixels being decoded at once
    breaker_failures: int = 8  # failures in a row that close a host off …
    breaker_s: float = 60.0  # … for this long

    @property
    def user_agent(self) -> str:
        """Return the honest name sent with every request: token, version, and where to complain."""
        name = f"{self.user_agent_token}/{VERSION}"
        return f"{name} (+{self.contact})" if self.contact else name

    @property
    def extension(self) -> str:
        """Return the file extension of stored pictures."""
        return self.encode_format

    @property
    def shape(self) -> Shape:
        """Return what image.decode must know."""
        from filters.perceptual import MIN_SIDE_PX

        view = MIN_SIDE_PX if self.hashes else 0
        return Shape(self.resize_px, self.resize_mode, self.upscale, self.max_px, view)

    def identity(self) -> dict[str, Any]:
        """Return the JSON-able options that a picture's stored bytes or its fate depend on."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_IDENTITY}
        kept["heard"] = _HEARD
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
