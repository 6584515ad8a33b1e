"""One part of a published snapshot as one table: every candidate with all that became of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import FormatError
from pipeline.pack import ERASED
from pipeline.rows import PartFiles, fetched
from pipeline.snapshot import PartEntry
from pipeline.stage import Part, find
from pipeline.store import Store

_CANDIDATE = ("uid", "url", "text", "domain", "page_url")
_FETCH = ("http_status", "via", "format", "original_bytes", "original_width_px", "original_height_px", "sha256",
          "fetch_key", "tar_offset", "tar_bytes")  # fmt: skip


@dataclass(frozen=True)
class Way:
    """What each stage committed for one part of a snapshot."""

    files: PartFiles
    texts: Part | None
    judge: Part | None

    def records(self) -> Iterator[Part]:
        """Yield the commit records of the part's way, in order."""
        f = self.files
        for part in (self.texts, f.admit, *f.fetches, *f.embeds, f.scores, self.judge, f.decide):
            if part is not None:
                yield part


def way(store: Store, entry: PartEntry) -> Way:
    """Read the records that a snapshot's entry names, and those of their inputs; FormatError when one is gone."""

    def need(stage: str, key: str) -> Part:
        part = find(store, stage, key)
        if part is None:
            where = store.uri(f"{stage}/{key}.json")
            raise FormatError(f"{where}: missing, though the snapshot names it; run the ingest again")
        return part

    found = {stage: [need(stage, key) for key in keys] for stage, keys in entry.stages.items()}
    fetches = found.get(f"fetch/{entry.candidates}", [])
    candidates = need("candidates", entry.candidates)
    admit, scores, decide = found["admit"][-1], found["scores"][-1], found["decide"][-1]
    files = PartFiles(candidates, admit, fetches, found.get("embed", []), scores, decide)
    return Way(files, _input(store, admit, "texts"), _input(store, decide, "judge"))


def _input(store: Store, part: Part, stage: str) -> Part | None:
    return next((found for key in part.inputs if (found := find(store, stage, key)) is not None), None)


def wide(store: Store, part: Way) -> pa.Table:
    """Return the part's candidates, sorted by uid, with the columns of all stages.

    Besides candidate and FETCH columns: reason and duplicate_of (final), clip_cos, language, and how far the row came:
    admitted, asked, fetched, looked_at, kept (bool).
    """
    files = part.files
    assert files.decide is not None
    assert files.scores is not None
    rows = files.candidates.table(store, columns=_CANDIDATE).combine_chunks()
    uids = rows["uid"].combine_chunks()

    def joined(table: pa.Table, name: str) -> pa.Array:
        return table[name].combine_chunks().take(pc.index_in(uids, table["uid"].combine_chunks()))

    admit = files.admit.table(store, columns=["uid", "reason"])
    got = fetched(store, files.fetches)
    scores = files.scores.table(store, columns=["uid", "clip_cos"])
    decide = files.decide.table(store, columns=["uid", "reason", "duplicate_of"])
    admitted = pc.is_null(joined(admit, "reason"))
    came = pc.and_(admitted, pc.is_in(uids, value_set=got["uid"].combine_chunks()))
    fate = joined(got, "reason")  # an erased picture had come; the report goes on counting it, and shows nothing of it
    ok = pc.and_(came, pc.or_(pc.is_null(fate), pc.fill_null(pc.equal(fate, ERASED), False)))
    seen = pc.and_(ok, pc.is_in(uids, value_set=scores["uid"].combine_chunks()))
    reason = joined(decide, "reason")
    columns = {
        "reason": reason,
        "duplicate_of": joined(decide, "duplicate_of"),
        "admitted": admitted,
        "asked": came,
        "fetched": ok,
        "looked_at": seen,
        "kept": pc.is_null(reason),
        "clip_cos": joined(scores, "clip_cos"),
        **{name: joined(got, name) for name in _FETCH},
        "language": _language(store, part.texts, uids),
    }
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def _language(store: Store, texts: Part | None, uids: pa.Array) -> pa.Array:
    if texts is None:
        return pa.nulls(len(uids), pa.string())
    table = texts.table(store)
    if "language" not in table.column_names:
        return pa.nulls(len(uids), pa.string())
    return table["language"].combine_chunks().take(pc.index_in(uids, table["uid"].combine_chunks()))
