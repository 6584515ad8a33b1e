"""Search results as one HTML file with its pictures in it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from index.hits import Hit
from index.query import Query
from pipeline.pages import render, thumbnail

_SIGNS: Final = {"~": "contains", "<=": "≤", ">=": "≥", "!=": "≠"}
_SIDE_PX = 320  # sharp on screens with two pixels a point


def write_page(out: Path, asked: str, hits: Sequence[Hit], snapshot_name: str, query: Query | None = None) -> None:
    """Write the hits of a query, in the order given, as a page that needs nothing but itself.

    The query's own pictures stand at its head, and what an answer had to satisfy.
    """
    cards = [(hit, thumbnail(hit.picture, _SIDE_PX)) for hit in hits]
    sent = [uri for picture in _pictures(query) if (uri := thumbnail(picture, _SIDE_PX))]
    page = render(
        "index", "search.html", query=asked, cards=cards, snapshot=snapshot_name, sent=sent, limits=list(_limits(query))
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


def _pictures(query: Query | None) -> Iterator[bytes]:
    for term in query.terms if query is not None else ():
        if isinstance(term.picture, Path):
            yield term.picture.read_bytes()
        elif term.picture is not None:
            yield term.picture


def _limits(query: Query | None) -> Iterator[str]:
    if query is None:
        return
    if query.modality == "text":
        yield "compared with the pictures' texts"
    for one in query.where:
        yield f"{one.column} {_SIGNS.get(one.op, one.op)} {one.value}"
    if query.least_cos is not None:
        yield f"cosine ≥ {query.least_cos:g}"
    if query.deduplicate:
        yield "copies once"
