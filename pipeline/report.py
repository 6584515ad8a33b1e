"""The report of a snapshot: one HTML file with everything in it, to be read, printed and kept."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import amendments, figures
from pipeline.config import keys
from pipeline.errors import InputError
from pipeline.pack import shard_files
from pipeline.pages import render, thumbnail
from pipeline.reasons import meaning
from pipeline.report_data import COS_EDGES, PX_EDGES, Facts, Work, balance, flat, gather
from pipeline.report_galleries import SHOWN
from pipeline.report_pictures import largest_groups, thumbnails
from pipeline.report_requests import gather as gather_requests
from pipeline.snapshot import Snapshot, numbers, read, require_latest
from pipeline.store import Store

_TOP = 15
_SHARDS_SHOWN = 60
_READ = {
    "pages": "pages",
    "images": "img tags and list rows",
    "records": "records",
    "bad_records": "of them broken",
    "truncated_inputs": "inputs that end too early",
    "opted_out_pages": "pages that say no",
    "statements": "statements on use met at sites and pictures",
}
_FLAGS = {  # of one statement, of several
    "malformed": ("cannot be read", "cannot be read"),
    "malformed_reservation": ("cannot be read and looks like a no", "cannot be read and look like a no"),
    "unreadable": ("could not be got", "could not be got"),
    "nonconformant": ("is not in its specification's form", "are not in their specification's form"),
    "old_label": ("uses a name from an earlier draft", "use a name from an earlier draft"),
}


@dataclass(frozen=True)
class Line:
    """A line of a table with a bar."""

    name: str
    rows: int
    share: float  # of the table's whole
    bar: float  # 0…1, of the longest bar
    kept: int | None = None
    says: str = ""
    good: bool = True


@dataclass(frozen=True)
class Search:
    """A question asked of the data set, and what it answered: cosine, text and picture (bytes), nearest first."""

    query: str
    hits: Sequence[tuple[float, str, bytes]]


def build(store: Store, out: Path, number: int | None = None, searches: Sequence[Search] = ()) -> Path:
    """Write the report of a snapshot (the newest one, unless a number is given) and return its path.

    `searches` were made by the caller, who knows the index; the report only shows them.
    """
    snapshot = _snapshot(store, number)
    facts = gather(store, snapshot)
    groups = largest_groups(store, facts)
    shown = {kind: facts.galleries.rows(kind) for kind in ("below", "above", "best")}
    shown["sample"] = facts.galleries.rows("sample", 2 * SHOWN)
    wanted = [row for rows in shown.values() for row in rows]
    wanted += [row for group in groups for row in (group.keeper, *group.copies) if row is not None]
    page = render(
        "pipeline",
        "report.html",
        **_numbers(store, facts),
        **_tables(facts),
        **_record(store, facts),
        **_drawings(facts),
        requests=gather_requests(store),
        erasures=_erasures(store),
        shown=shown,
        groups=groups,
        thumbs=thumbnails(store, snapshot, wanted),
        searches=[(s.query, [(cos, text, thumbnail(data)) for cos, text, data in s.hits]) for s in searches],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def _snapshot(store: Store, number: int | None) -> Snapshot:
    if number is None:
        return require_latest(store)
    have = numbers(store)
    if number not in have:
        raise InputError(f"{store.root}: no snapshot {number}; there are {', '.join(map(str, have)) or 'none'}")
    return read(store, number)


def _erasures(store: Store) -> list[tuple[str, str, int]]:
    """Return (number, day, samples) of every finished erasure."""
    return [(f"{found.number:06d}", found.utc[:10], len(found.uids)) for found in amendments.erasures(store)]


def _numbers(store: Store, facts: Facts) -> dict[str, object]:
    steps = facts.steps()
    copies = facts.groups.totals[0]
    return {
        "name": store.root.rstrip("/").rsplit("/", 1)[-1],
        "snapshot": facts.snapshot,
        "facts": facts,
        "steps": steps,
        "wrong": balance(steps),
        "read": [(facts.read[name], label) for name, label in _READ.items() if facts.read[name]] + _flagged(facts),
        "domains_kept": sum(1 for _, (_, kept) in facts.domains.rows.items() if kept),
        "copies": copies,
        "copies_on": facts.snapshot.config.get("copies", {}).get("enabled", True),
        "group_count": len(facts.groups.rows),
    }


def _flagged(facts: Facts) -> list[tuple[int, str]]:
    """Return how many statements could not be taken as they stand, and why; an unknown is told, never passed over."""
    found = [(n, name.partition(" ")) for name, n in sorted(facts.read.items())]
    return [(n, _flag_says(n, flag, mechanism)) for n, (flag, _, mechanism) in found if flag in _FLAGS]


def _flag_says(count: int, flag: str, mechanism: str) -> str:
    one, many = _FLAGS[flag]
    return f"{mechanism} statement {one}" if count == 1 else f"{mechanism} statements {many}"


def _lines(rows: Sequence[tuple[str, int, int | None]], whole: int) -> list[Line]:
    longest = max((n for _, n, _ in rows), default=0) or 1
    return [Line(name, n, n / whole if whole else 0.0, n / longest, kept) for name, n, kept in rows]


def _tables(facts: Facts) -> dict[str, object]:
    def top(tally: Any, n: int = _TOP) -> list[Line]:
        return _lines([(name, kept, seen) for name, (seen, kept) in tally.top(n, by=1)], tally.totals[1])

    fetched = sum(facts.fetches.values())
    longest = max(facts.fetches.values(), default=0) or 1
    outcomes = [
        Line(name, n, n / fetched, n / longest, says="" if name == "fetched" else meaning(name), good=name == "fetched")
        for name, n in facts.fetches.most_common()
        if n
    ]
    answers = [(str(status), n, None) for status, n in facts.statuses.most_common(_TOP)]
    via = {"web": "from the web", "capture": "from the crawl's own copies"}
    return {
        "reasons": _reasons(facts),
        "domains": top(facts.domains),
        "languages": top(facts.languages, 10),
        "formats": top(facts.formats, 10),
        "outcomes": outcomes,
        "answers": _lines(answers, sum(facts.statuses.values())),
        "via": [(via.get(name, name), n) for name, n in facts.via.most_common()],
        "work": _work(facts.work),
    }


def _reasons(facts: Facts) -> list[tuple[str, list[Line]]]:
    """Return every reason that occurred, step by step, with its share of all that was found."""
    steps = facts.steps()
    longest = max((n for step in steps for n in step.lost.values()), default=0) or 1
    whole = facts.snapshot.rows_in
    out = []
    for step in steps:
        ranked = sorted(step.lost.items(), key=lambda item: (-item[1], item[0]))
        lines = [
            Line(name, n, n / whole if whole else 0.0, n / longest, says=meaning(name), good=False)
            for name, n in ranked
        ]
        if lines:
            out.append((step.doing, lines))
    return out


def _work(work: Mapping[str, Work]) -> list[tuple[str, Work, float, float]]:
    """Return (stage, work, rows a second of one worker, share of all seconds)."""
    total = sum(w.seconds for w in work.values()) or 1.0
    return [(name, w, w.rows / w.seconds if w.seconds else 0.0, w.seconds / total) for name, w in work.items()]


def _record(store: Store, facts: Facts) -> dict[str, object]:
    """Return the configuration and the digests."""
    snapshot = facts.snapshot
    record = f"snapshots/{snapshot.folder}.json"
    digests = [
        ("snapshot", record, hashlib.sha256(store.read(record)).hexdigest()),
        ("configuration", "BLAKE2b of the keys below", snapshot.config_digest),
        (
            "weights",
            str(snapshot.clip.get("model", "")),
            snapshot.clip.get("weights_sha256") or "not recorded",
        ),
        *((f"table of {name}", f"{name}/{key}.parquet", key) for name, key in snapshot.reduces.items()),
    ]
    shards = [
        (shard_files(snapshot.folder, e.number)["tar"], e.rows, e.sha256["tar"])
        for e in snapshot.shards[:_SHARDS_SHOWN]
    ]
    return {
        "config": _config(snapshot),
        "digests": digests,
        "shards": shards,
        "more_shards": len(snapshot.shards) - len(shards),
    }


def _config(snapshot: Snapshot) -> list[tuple[str, str, str, bool]]:
    """Return (key, value, meaning, differs from the default) in the order of `tamis config`."""
    known = {key: (place, default, text) for place, (key, _, default, text) in enumerate(keys())}
    rows = []
    for key, value in flat(snapshot.config):
        place, default, text = known.get(key, (len(known), None, ""))
        rows.append((place, key, _plain(value), text, key not in known or _plain(value) != _plain(default)))
    return [(key, value, text, changed) for _, key, value, text, changed in sorted(rows)]


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "–"


def _drawings(facts: Facts) -> dict[str, object]:
    filters = facts.snapshot.config.get("filters", {})
    model = str(facts.snapshot.clip.get("model", "the model"))
    min_px, max_aspect = int(filters.get("min_px", 0)), float(filters.get("max_aspect", 1.0))
    return {
        "cosine_figure": figures.cosines(COS_EDGES, facts.cosines, facts.threshold, model),
        "size_figure": figures.sizes(PX_EDGES, facts.sizes, min_px, max_aspect),
        "group_figure": figures.group_sizes([n + 1 for (n,) in facts.groups.rows.values()]),
    }
