"""Search results as one HTML file with its pictures in it."""

from collections.abc import Sequence
from pathlib import Path

from index.hits import Hit
from pipeline.pages import render, thumbnail

_SIDE_PX = 320  # sharp on screens with two pixels a point


def write_page(out: Path, query: str, hits: Sequence[Hit], snapshot_name: str) -> None:
    """Write the hits of a query, in the order given, as a page that needs nothing but itself."""
    cards = [(hit, thumbnail(hit.picture, _SIDE_PX)) for hit in hits]
    page = render("index", "search.html", query=query, cards=cards, snapshot=snapshot_name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
