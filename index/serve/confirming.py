"""The confirmation answer as a stranger may see it: what is hidden counts as not there, and rows come with their pictures."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from index.serve import exposed
from index.serve.catalogue import Served
from pipeline.confirm import confirm
from pipeline.ids import faiss_id
from pipeline.registry.registry import Registry

MOST: Final = 1_000
"""Rows that an answer looks into; those beyond are counted. Else one question about a large site would fill the memory."""


def answer(served: Served, kind: str, value: str | Mapping[str, str], registry: Registry | None) -> dict[str, Any]:
    """Return whether the data set has it, with the rows, copies and look-alikes as hits.

    Whoever asks cannot tell a row that somebody had hidden from one that never was: else the answer would tell of other
    people's requests. It stands in `hidden_rows_are` of the scope.
    """
    hidden = served.hidden()
    told = confirm(served.store, kind, value, registry, without=hidden, most=MOST)
    facts = _facts(served, [row["uid"] for name in ("rows", "copies", "look_alikes") for row in told[name]])
    seen = exposed.seen(served, [row["uid"] for name in ("rows", "copies") for row in told[name]])
    told["checkpoints"] = sorted({exposed.said(one) for all_ in seen.values() for one in all_})
    hidden = served.hidden()  # the search has taken its time
    for name in ("rows", "copies", "look_alikes"):
        kept = [row for row in told[name] if bytes.fromhex(row["uid"]) not in hidden]
        told[name] = [_hit(served, row, facts.get(row["uid"])) for row in kept]
    told["scope"]["hidden_rows_are"] = "not counted: what is being removed is treated as removed"
    told["scope"]["looked_into"] = min(MOST, told["counts"]["rows"])
    return told


def _facts(served: Served, uids: list[str]) -> dict[str, dict[str, Any]]:
    """Return uid → facts of those that can be found by a search, whose pictures are served."""
    by_id = {faiss_id(bytes.fromhex(uid)): uid for uid in uids}
    ids = np.array(sorted(by_id), np.int64)
    with served.searcher.using() as opened:
        there = ids[opened.having(ids)] if len(ids) else ids
        rows = opened.facts(there).to_pylist() if len(there) else []
    return {row["key"]: row for id_, row in zip(there.tolist(), rows, strict=True) if by_id[id_] == row["key"]}


def _hit(served: Served, row: Mapping[str, Any], facts: Mapping[str, Any] | None) -> dict[str, Any]:
    fates = row.get("fates", {})
    shown: dict[str, Any] = {
        "uid": row["uid"],
        "how": row.get("how", "copy" if "cos" not in row else "neighbour"),
        "score": row.get("score"),
        "cos": row.get("cos"),
        "url": row.get("url"),
        "caption": row.get("text"),
        "page_url": row.get("page_url"),
        "source": row.get("source"),
        "in_snapshots": [name for name, reason in fates.items() if reason is None],
        "left_out": sorted({reason for reason in fates.values() if reason is not None}),
        "picture": None,
    }
    if facts is not None:
        shown |= {
            name: facts[name] for name in ("url", "caption", "page_url", "width", "height", "domain") if name in facts
        }
        shown["picture"] = f"/api/v1/datasets/{served.name}/samples/{row['uid']}/picture"
    return shown
