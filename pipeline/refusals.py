"""Who must not be in the data set, as a run sees it: the registry's lists and the tombstones, fixed when the run begins."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tombstones
from pipeline.config import Config
from pipeline.ids import uid_digest
from pipeline.registry import place, suppression
from pipeline.registry.registry import Registry
from pipeline.registry.suppression import Suppression
from pipeline.stage import Part
from pipeline.store import Store

OPTED_OUT = "opted_out_request"
LISTED = "hash_listed"
REMOVED = (OPTED_OUT, LISTED)
"""Reasons of rows that somebody had removed: their copies may stand in for them only where the configuration says so."""

_FOLDER = "barred"
_HASHES = ("sha256", "md5", "pdq", "phash64")
NO_UIDS = pa.array([], pa.binary(16))


@dataclass(frozen=True)
class Refusals:
    """Positions of what is matched against; small, and sent to every task. Nothing listed costs nothing."""

    lists: int | None = None  # of the lists' files; None where there is no registry
    tombstones: int = 0  # number of the newest file
    pdq_bits: int = 31

    def facts(self) -> dict[str, int]:
        """Return what a snapshot says of them."""
        return {"registry": self.lists or 0, "tombstones": self.tombstones}


def current(store: Store, config: Config) -> Refusals:
    """Return the refusals as they stand, with the lists' files made for workers to read."""
    hidden = tombstones.read(store).position
    if not config.optout.lists or not place.exists(store, config.optout.registry):
        return Refusals(None, hidden, config.optout.pdq_bits)
    position = suppression.build(Registry.open(store, config.optout.registry))
    return Refusals(position, hidden, config.optout.pdq_bits)


def barred(store: Store, candidates: Part, refusals: Refusals) -> pa.Array:
    """Return the sorted uids of a candidates part that must go no further, as binary[16].

    By name (URL, page, text) or because a tombstone hides them. What was found is remembered beside the part with its
    positions, so that a run after which nothing was listed reads one small file a part.
    """
    if not refusals.lists and not refusals.tombstones:
        return NO_UIDS
    name, said = f"{_FOLDER}/{candidates.key}.json", {"lists": refusals.lists, "tombstones": refusals.tombstones}
    if store.exists(name):
        known = json.loads(store.read(name))
        if {key: known[key] for key in said} == said:
            return pa.array([bytes.fromhex(uid) for uid in known["uids"]], pa.binary(16))
    rows = candidates.table(store, columns=["uid", "url", "text", "page_url"])
    found = _tombstones(store, refusals.tombstones).mask(rows["uid"]).to_numpy(zero_copy_only=False)
    if refusals.lists:
        found = found | Suppression.open(store, refusals.lists).names(rows)
    uids = rows["uid"].combine_chunks().filter(pa.array(found)).sort()
    store.write(name, json.dumps({**said, "uids": [uid.hex() for uid in uids.to_pylist()]}).encode())
    return uids


def listed(store: Store, fetches: Sequence[Part], refusals: Refusals) -> dict[str, pa.Array]:
    """Return reason → sorted uids of pictures fetched earlier that are listed now, by hash or by creator."""
    if not refusals.lists:
        return {}
    lists = Suppression.open(store, refusals.lists)
    if not lists.has(*_HASHES, "creator"):
        return {}
    hashes, creators = [NO_UIDS], [NO_UIDS]
    for part in fetches:
        table = part.table(store)
        by_hash = lists.exact("sha256", table["sha256"].to_pylist()) | lists.exact("md5", table["md5"].to_pylist())
        pdq, quality, phash = (table[name].to_pylist() for name in ("pdq256", "pdq_quality", "phash64"))
        by_hash |= lists.perceptual(pdq, quality, phash, refusals.pdq_bits)
        by_creator = np.zeros(table.num_rows, np.bool_)
        for name in ("creator", "copyright"):
            if name in table.column_names:
                by_creator |= lists.creators(table[name].to_pylist())
        uids = table["uid"].combine_chunks()
        hashes.append(uids.filter(pa.array(by_hash)))
        creators.append(uids.filter(pa.array(by_creator)))
    found = {LISTED: pa.concat_arrays(hashes), OPTED_OUT: pa.concat_arrays(creators)}
    return {reason: pc.unique(uids).sort() for reason, uids in found.items() if len(uids)}


def digest(uids: dict[str, pa.Array]) -> dict[str, str]:
    """Return what a key says of uids by reason; empty where there are none, so that untouched parts keep their keys."""
    return {reason: uid_digest(found) for reason, found in uids.items() if len(found)}


@dataclass(frozen=True)
class PictureGuard:
    """Asked by the decoding threads: is this picture listed?"""

    lists: Suppression
    pdq_bits: int

    @classmethod
    def of(cls, store: Store, refusals: Refusals) -> "PictureGuard | None":
        """Return a guard, or None where no hash is listed."""
        if not refusals.lists:
            return None
        lists = Suppression.open(store, refusals.lists)
        return cls(lists, refusals.pdq_bits) if lists.has(*_HASHES) else None

    def bytes_listed(self, sha256: bytes, md5: bytes | None) -> bool:
        """Tell whether a picture's own bytes are listed."""
        return bool((self.lists.exact("sha256", [sha256]) | self.lists.exact("md5", [md5]))[0])

    def looks_listed(self, pdq: bytes | None, quality: int | None, phash: bytes | None) -> bool:
        """Tell whether a picture looks like a listed one."""
        return bool(self.lists.perceptual([pdq], [quality], [phash], self.pdq_bits)[0])


@lru_cache(maxsize=2)
def _tombstones(store: Store, position: int) -> tombstones.Tombstones:
    return tombstones.read(store)
