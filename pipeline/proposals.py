"""The look-alikes of a person's picture, for somebody to compare: a list, and a page with the pictures in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages import render, thumbnail
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.search_rows import fetches
from pipeline.stage import find
from pipeline.store import Store

_SIDE_PX = 320


@dataclass(frozen=True)
class Proposal:
    """A picture that may be the one that is meant."""

    uid: str
    cos: float
    url: str
    text: str
    picture: bytes

    def to_json(self) -> dict[str, Any]:
        """Return it without the picture, as JSON values."""
        return {name: value for name, value in self.__dict__.items() if name != "picture"}


def proposals(store: Store, registry: Registry, request_id: str) -> list[Proposal]:
    """Return a request's open proposals, the nearest first."""
    open_ = registry.matches(request_id, "proposed")
    found = [Proposal(m.uid.hex(), m.score or 0.0, *row_facts(store, m)) for m in open_]
    return sorted(found, key=lambda one: (-one.cos, one.uid))


def row_facts(store: Store, match: Match) -> tuple[str, str, bytes]:
    """Return a row's address, text and stored picture, as far as they are there."""
    part = find(store, "candidates", match.part)
    wanted = pa.array([match.uid], pa.binary(16))
    url = text = ""
    if part is not None:
        rows = part.table(store, columns=["uid", "url", "text"])
        for row in rows.filter(pc.is_in(rows["uid"].combine_chunks(), value_set=wanted)).to_pylist():
            url, text = row["url"] or "", row["text"] or ""
    for generation in fetches(store, match.part):
        rows = generation.table(store, columns=["uid", "tar_offset", "tar_bytes"])
        for row in rows.filter(pc.is_in(rows["uid"].combine_chunks(), value_set=wanted)).to_pylist():
            if row["tar_offset"] is not None:
                with generation.open(store, "tar") as tar:
                    tar.seek(row["tar_offset"])
                    return url, text, tar.read(row["tar_bytes"])
    return url, text, b""


def write_page(out: Path, request_id: str, shown: Sequence[Proposal]) -> None:
    """Write the proposals as a page that needs nothing but itself; it shows strangers' pictures, so it is not to be passed on."""
    cards = [(one, thumbnail(one.picture, _SIDE_PX)) for one in shown]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render("pipeline", "proposals.html", request=request_id, cards=cards), encoding="utf-8")
