"""What a search returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

COLUMNS: Final = ("key", "url", "caption", "width", "height", "page_url", "domain", "clip_cos")
"""The facts that a hit shows."""


@dataclass(frozen=True)
class Hit:
    """One sample of the data set, and how near it is to what was asked."""

    uid: str
    """32 hex digits."""
    url: str
    caption: str
    cos: float
    """Cosine to the query's vector, -1 to 1."""
    width: int
    """Of the stored picture, in pixels; `height` alike."""
    height: int
    page_url: str | None
    domain: str
    picture: bytes = b""
    """The stored picture, encoded; empty where pictures were not asked for."""
    clip_cos: float | None = None
    """Cosine of the sample's own picture and text."""


def hit(row: Mapping[str, Any], cos: float, picture: bytes = b"") -> Hit:
    """Return the hit of a row of facts (COLUMNS)."""
    facts = {"uid" if name == "key" else name: row[name] for name in COLUMNS}
    return Hit(cos=cos, picture=picture, **facts)


def as_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits without their pictures, as plain values."""
    return [{name: value for name, value in one.__dict__.items() if name != "picture"} for one in hits]
