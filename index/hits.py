"""What a search returns."""

from dataclasses import dataclass


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
    picture: bytes
    """The stored picture, encoded."""
