"""Write all papers on a data set: metadata, tables, summaries and notices, filled from its own records."""

import json
from pathlib import Path
from typing import Any

from pipeline.disclosure.croissant import croissant
from pipeline.disclosure.facts import Facts, gather
from pipeline.disclosure.papers import eu_summary, page, ropa
from pipeline.registry.registry import Registry
from pipeline.snapshot import Snapshot
from pipeline.store import Store

FOLDER = "disclosure"


def disclose(
    store: Store, snapshot: Snapshot, registry: Registry | None, out: Path | None = None, sme: bool = False
) -> tuple[list[str], Facts]:
    """Write the papers of a snapshot, into the data set unless a folder is given; return their names and the facts.

    croissant.json lies in the data set's own folder (its paths begin there), everything else in `disclosure/`. They speak
    of the moment they were written; write them again after a release or an erasure.
    """
    facts = gather(store, snapshot, registry)
    summary = eu_summary(facts, sme)
    papers = {
        "domains.csv": "".join(facts.domains.csv()),
        "eu_domains.csv": "".join(facts.domains.csv(facts.domains.top(sme))),
        "eu_summary.json": _json(summary),
        "eu_summary.md": page("eu_summary.md.html", facts, summary=summary),
        "ropa.json": _json(ropa(facts)),
        "notice.md": page("notice.md.html", facts),
        "croissant.json": _json(croissant(store, facts)),
    }
    written = []
    for name, text in papers.items():
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
            written.append(str(out / name))
        else:
            target = name if name == "croissant.json" else f"{FOLDER}/{name}"
            store.write(target, text.encode())
            written.append(target)
    return written, facts


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
