"""Who must not be in the data set, as a run sees it: the registry's lists and the tombstones, fixed when the run begins."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.perceptual import PDQ_MAX_DISTANCE, gray, pdq256, phash64
from pipeline import tombstones
from pipeline.config import Config
from pipeline.ids import uid_digest
from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.suppression import Suppression
from pipeline.registry.suppression_files import build
from pipeline.stage import Part
from pipeline.store import Store

OPTED_OUT = "opted_out_request"
LISTED = "hash_listed"
REMOVED = (OPTED_OUT, LISTED)
"""Reasons of rows that somebody had removed: their copies may stand in for them only where the configuration says so."""

_FOLDER = "barred"
_HASHES = ("sha256", "md5", "pdq", "phash64")
_URLS = ("url", "url_prefix", "host", "domain")
_FETCHED = ["uid", "reason", "final_url", "sha256", "md5", "pdq256", "pdq_quality", "phash64"]
RIGHTS = ("creator", "copyright", "copyright_owner")
"""Columns that say whose a picture is; where a fetch has none of them, nothing is known."""
NO_UIDS = pa.array([], pa.binary(16))

Out = dict[str, pa.Array]
"""Reason → sorted uids, binary[16]."""


@dataclass(frozen=True)
class Refusals:
    """What is matched against, by name; small, and sent to every task. Nothing listed costs nothing."""

    lists: str | None = None  # edition of the lists' files; None where there is no registry
    tombstones: int = 0  # number of the newest file
    pdq_bits: int = 31

    def facts(self) -> dict[str, int]:
        """Return what a snapshot says of them: the positions of the registry and of the tombstones."""
        return {"registry": int((self.lists or "0").partition("-")[0]), "tombstones": self.tombstones}

    @property
    def some(self) -> bool:
        """Tell whether anything was ever listed or hidden."""
        return any(self.facts().values())


def current(store: Store, config: Config) -> Refusals:
    """Return the refusals as they stand, with the lists' files made for workers to read."""
    hidden = tombstones.read(store).position
    if not config.optout.lists or not place.exists(store, config.optout.registry):
        return Refusals(None, hidden, config.optout.pdq_bits)
    edition = build(Registry.open(store, config.optout.registry))
    return Refusals(edition, hidden, config.optout.pdq_bits)


def barred(store: Store, candidates: Part, refusals: Refusals) -> Out:
    """Return the uids of a candidates part that must go no further: by name (URL, page, text), or hidden by a tombstone."""
    if not refusals.some:
        return {}

    def find() -> Out:
        rows = candidates.table(store, columns=["uid", "url", "text", "page_url", "domain"])
        found = _hidden(store, refusals.tombstones, rows["uid"])
        if refusals.lists:
            found |= Suppression.open(store, refusals.lists).names(rows)
        return {OPTED_OUT: rows["uid"].combine_chunks().filter(pa.array(found))}

    said = {"lists": refusals.lists, "tombstones": refusals.tombstones}
    return _remembered(store, f"{_FOLDER}/{candidates.key}.json", said, find)


def listed(store: Store, candidates: Part, fetches: Sequence[Part], refusals: Refusals) -> Out:
    """Return the uids of pictures fetched earlier that are listed now: by hash, by creator, by where a redirect led."""
    if not refusals.lists:
        return {}
    lists = Suppression.open(store, refusals.lists)
    if not lists.has(*_HASHES, *_URLS, "creator"):
        return {}

    def find() -> Out:
        pieces = [_listed_in(lists, part, store, refusals.pdq_bits) for part in fetches]
        return {reason: pa.concat_arrays([NO_UIDS, *(piece[reason] for piece in pieces)]) for reason in REMOVED}

    said = {"lists": refusals.lists, "pdq_bits": refusals.pdq_bits, "fetches": [part.key for part in fetches]}
    return _remembered(store, f"{_FOLDER}/{candidates.key}.fetched.json", said, find)


def _listed_in(lists: Suppression, part: Part, store: Store, pdq_bits: int) -> Out:
    with part.open(store, "parquet") as handle:
        names = pq.ParquetFile(handle).schema_arrow.names
    table = part.table(store, columns=[name for name in (*_FETCHED, *RIGHTS) if name in names])
    table = table.filter(pc.is_null(table["reason"]))
    by_hash = lists.exact("sha256", table["sha256"].to_pylist()) | lists.exact("md5", table["md5"].to_pylist())
    pdq, quality, phash = (table[name].to_pylist() for name in ("pdq256", "pdq_quality", "phash64"))
    by_hash |= lists.perceptual(pdq, quality, phash, pdq_bits)
    by_name = lists.urls(table["final_url"])
    for name in RIGHTS:
        if name in names:
            by_name |= lists.phrases("creator", table[name].to_pylist())
    uids = table["uid"].combine_chunks()
    return {LISTED: uids.filter(pa.array(by_hash)), OPTED_OUT: uids.filter(pa.array(by_name))}


def _remembered(store: Store, name: str, said: Mapping[str, object], find: Callable[[], Out]) -> Out:
    """Return what was found under the same circumstances before, else find it and remember it beside the part.

    So a run after which nothing was listed reads one small file a part. The files hold uids and nothing else.
    """
    try:
        known = json.loads(store.read(name))
    except FileNotFoundError:
        known = {}
    if known.get("said") != said:
        found = {reason: pc.unique(uids).sort() for reason, uids in find().items()}
        known = {"said": said, "out": {reason: [u.hex() for u in uids.to_pylist()] for reason, uids in found.items()}}
        store.write(name, json.dumps(known).encode())
    out = known["out"].items()
    return {reason: pa.array([bytes.fromhex(uid) for uid in uids], pa.binary(16)) for reason, uids in out if uids}


def digest(out: Out) -> dict[str, str]:
    """Return what a key says of uids by reason; empty where there are none, so that untouched parts keep their keys."""
    return {reason: uid_digest(found) for reason, found in out.items() if len(found)}


def joined(*outs: Out) -> Out:
    """Return the uids of several findings; what was said first of a uid stays."""
    all_: Out = {}
    for out in outs:
        for reason, uids in out.items():
            all_[reason] = pc.unique(pa.concat_arrays([all_.get(reason, NO_UIDS), uids])).sort()
    return all_


@dataclass(frozen=True)
class PictureGuard:
    """Asked while pictures are fetched: is this one listed?"""

    lists: Suppression
    pdq_bits: int

    @classmethod
    def of(cls, store: Store, refusals: Refusals) -> "PictureGuard | None":
        """Return a guard, or None where nothing is listed that it could know a picture by."""
        if not refusals.lists:
            return None
        lists = Suppression.open(store, refusals.lists)
        return cls(lists, refusals.pdq_bits) if lists.has(*_HASHES, *_URLS) else None

    @property
    def looks(self) -> bool:
        """Tell whether perceptual hashes are listed."""
        return self.lists.has("pdq", "phash64")

    def led_to(self, url: str) -> bool:
        """Tell whether a redirect has led to a listed address."""
        return bool(self.lists.urls(pa.chunked_array([[url]]))[0])

    def bytes_listed(self, sha256: bytes, md5: bytes | None) -> bool:
        """Tell whether a picture's own bytes are listed."""
        return bool((self.lists.exact("sha256", [sha256]) | self.lists.exact("md5", [md5]))[0])

    def looks_listed(self, pdq: bytes | None, quality: int | None, phash: bytes | None) -> bool:
        """Tell whether a picture looks like a listed one."""
        return bool(self.lists.perceptual([pdq], [quality], [phash], self.pdq_bits)[0])


_SIDES_PX = (256, 512, 1_024, 2_048)
"""Longer sides that a listed picture may have had of which a made one is a small copy: PDQ's blur depends on them."""


def looks_removed(store: Store) -> Callable[[NDArray[np.uint8]], bool] | None:
    """Return what tells whether a picture u8[H,W,3] looks like one whose perceptual hash the registry lists, or None without one.

    Hashes come with requests that show the picture, and with imported lists. Mirrored pictures count too.
    """
    if not place.exists(store):
        return None
    with tempfile.TemporaryDirectory() as folder:
        lists = Suppression.of_looks(Registry.open(store), Path(folder))
        if not lists.has("pdq", "phash64"):
            return None

    def looks(rgb: NDArray[np.uint8]) -> bool:
        long = max(rgb.shape[:2])
        for view in (rgb, np.ascontiguousarray(rgb[:, ::-1])):
            sizes = [(view.shape[1] * side // long, view.shape[0] * side // long) for side in _SIDES_PX if side > long]
            hashes = [pdq256(view, size) for size in (None, *sizes)]
            phash = phash64(gray(view))
            pdqs, qualities = zip(*hashes, strict=True)
            if lists.perceptual(pdqs, qualities, [phash] * len(hashes), PDQ_MAX_DISTANCE).any():
                return True
        return False

    return looks


def _hidden(store: Store, position: int, uids: pa.ChunkedArray) -> NDArray[np.bool_]:
    hidden = _sorted_uids(store, position)
    asked = np.array(uids.to_pylist(), "S16") if len(uids) else np.zeros(0, "S16")
    if len(hidden) == 0:
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(hidden, asked), len(hidden) - 1)
    return np.asarray(hidden[at] == asked, np.bool_)


@lru_cache(maxsize=2)
def _sorted_uids(store: Store, position: int) -> NDArray[np.bytes_]:
    return tombstones.read(store).uids()
