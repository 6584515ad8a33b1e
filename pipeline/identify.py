"""What a request means in this data set: which rows it speaks of, which it may mean, and their hiding.

A search reads narrow columns of every part once (addresses and texts for names, hashes for pictures), whatever the number of
requests it is for; what it found is sealed with the request, for the verifier to look for later.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.perceptual import PDQ_MAX_DISTANCE, PDQ_MIN_QUALITY
from pipeline import tombstones
from pipeline.ids import uid as uid_of
from pipeline.registry.near_hashes import NearHashes
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match, Request
from pipeline.registry.suppression import Suppression
from pipeline.schema import FETCH
from pipeline.stage import Part, find
from pipeline.store import Store

PROPOSE_COS: Final = 0.85
"""Pictures whose embeddings are at least this near are shown to a person, never hidden by themselves."""
PROPOSE_MOST: Final = 20
_NAMES: Final = ("url", "url_prefix", "host", "domain", "text", "uid")
_CANDIDATE_COLUMNS: Final = ["uid", "url", "text", "page_url"]
_HASHES: Final = {"sha256": "sha256", "md5": "md5", "pdq": "pdq256", "phash64": "phash64"}
Bools = NDArray[np.bool_]


def take_up(store: Store, registry: Registry, request_id: str) -> None:
    """Find what a new request means, hide what it plainly means, and bring it to its next state; again is fine.

    A kind that speaks for itself ends as `tombstoned`, also where nothing was found. A picture with look-alikes ends as
    `proposed`: a person confirms or rejects them, and what is sure is hidden meanwhile.
    """
    request = registry.get(request_id)
    if request.state == "received":
        registry.add_matches(request_id, identify(store, registry, request_id))
        registry.advance(request_id, "identified")
    if registry.get(request_id).state == "identified" and registry.matches(request_id, "proposed"):
        hide(store, registry, request_id)
        registry.advance(request_id, "proposed")
    if registry.get(request_id).state in ("identified", "confirmed"):
        tombstone(store, registry, request_id)


def tombstone(store: Store, registry: Registry, request_id: str) -> int:
    """Hide a request's confirmed rows and advance it; the tombstone file comes first, the state after. Return the rows."""
    rows = hide(store, registry, request_id)
    registry.advance(request_id, "tombstoned", body={"rows": rows})
    return rows


def hide(store: Store, registry: Registry, request_id: str) -> int:
    """Publish tombstones of a request's confirmed rows; those that are there add nothing. Return how many rows they are."""
    mine = [match for match in registry.matches(request_id, "confirmed") if match.part]
    if mine:
        uids, parts = [match.uid for match in mine], [match.part for match in mine]
        tombstones.publish(store, tombstones.of_request(uids, parts, request_id))
    return len(mine)


def take_up_lists(store: Store, registry: Registry) -> list[str]:
    """Carry out imported lists on what is in the data set already; return the ids of those that concern some of it.

    A list that does becomes a request of kind `list`, so that its erasure is recorded and verified as any other's.
    """
    concerned = []
    for import_id in registry.imports():
        if registry.meta(f"searched {import_id}") is not None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            lists = Suppression.of_owners(registry, [import_id], Path(folder))
            search = _Search(registry.list_request(import_id, keep=False), None, lists)
            found = [match for part in candidates(store) for match in search.part(store, part)]
            found += list({match.uid: match for match in search.refused(store)}.values())
        if found:
            registry.list_request(import_id)
            registry.add_matches(import_id, found)
            registry.advance(import_id, "identified")
            concerned.append(import_id)
            tombstone(store, registry, import_id)
        registry.remember(f"searched {import_id}", str(len(found)))
    return concerned


def identify(store: Store, registry: Registry, request_id: str) -> list[Match]:
    """Return every row of the data set that a request means, sealed facts included; `proposed` ones are for a person.

    Rows of all snapshots and of none are searched, rows refused at extraction too (their URLs are kept as evidence).
    """
    request = registry.get(request_id)
    told = registry.secret(request_id)["value"]
    with tempfile.TemporaryDirectory() as folder:
        search = _Search(request, told, Suppression.of_owners(registry, [request_id], Path(folder)))
        found = {match.uid: match for part in candidates(store) for match in search.part(store, part)}
        refused = {match.uid: match for match in search.refused(store)}
    if request.options.get("copies"):
        found |= _copies(store, found)
    proposals = search.proposals(found)
    return [*found.values(), *refused.values(), *proposals]


def candidates(store: Store) -> Iterator[Part]:
    """Yield every candidates part of the data set."""
    for name in store.names("candidates"):
        if name.endswith(".json"):
            part = find(store, "candidates", name.rsplit("/", 1)[1].removesuffix(".json"))
            if part is not None:
                yield part


def fetches(store: Store, candidates_key: str) -> list[Part]:
    """Return every committed fetch of a candidates part."""
    folder = f"fetch/{candidates_key}"
    records = (name for name in store.names(folder) if name.endswith(".json"))
    found = (find(store, folder, name.rsplit("/", 1)[1].removesuffix(".json")) for name in records)
    return [part for part in found if part is not None]


@dataclass
class _Search:
    """One request's search; `vectors` collects what lies near a person's picture."""

    request: Request
    told: Any
    lists: Suppression
    near: list[tuple[float, Match]] = field(default_factory=list)

    def part(self, store: Store, part: Part) -> list[Match]:
        """Return what a part has of it."""
        how: dict[bytes, tuple[str, float | None]] = {}
        fetched = fetches(store, part.key)
        if self.lists.has(*_NAMES):
            how |= dict.fromkeys(self._names(store, part), (self.request.kind, None))
        if self.request.kind in (*_HASHES, "picture", "creator", "list"):
            for generation in fetched:
                how |= self._pictures(generation.table(store))
        found = [Match(uid, part.key, kind, score) for uid, (kind, score) in sorted(how.items())]
        if isinstance(self.told, dict) and "vector" in self.told:
            self._neighbours(store, part, set(how))
        return with_facts(store, part, fetched, found)

    def _names(self, store: Store, part: Part) -> list[bytes]:
        rows = part.table(store, columns=_CANDIDATE_COLUMNS)
        uids: list[bytes] = rows["uid"].combine_chunks().filter(pa.array(self.lists.names(rows))).to_pylist()
        return uids

    def _pictures(self, rows: pa.Table) -> dict[bytes, tuple[str, float | None]]:
        """Return uid → how, for rows whose picture is listed by hash or whose creator is."""
        uids = rows["uid"].to_pylist()
        found: dict[bytes, tuple[str, float | None]] = {}
        for kind in ("sha256", "md5"):
            hits = self.lists.exact(kind, rows[_HASHES[kind]].to_pylist())
            found |= {uids[at]: (kind, None) for at in np.flatnonzero(hits)}
        for kind in ("pdq", "phash64"):
            for at, bits in self._near_hash(kind, rows):
                found.setdefault(uids[at], (kind, float(bits)))
        if self.request.kind == "list":
            pdq, quality, phash = (rows[name].to_pylist() for name in ("pdq256", "pdq_quality", "phash64"))
            hits = self.lists.perceptual(pdq, quality, phash, PDQ_MAX_DISTANCE)
            found |= {uids[at]: ("pdq", None) for at in np.flatnonzero(hits) if uids[at] not in found}
        for name in ("creator", "copyright"):
            if self.lists.has("creator") and name in rows.column_names:
                hits = self.lists.creators(rows[name].to_pylist())
                found |= {uids[at]: ("creator", None) for at in np.flatnonzero(hits)}
        return found

    def _near_hash(self, kind: str, rows: pa.Table) -> Iterator[tuple[int, int]]:
        """Yield (row, distance in bits) of pictures within the request's radius; a person's picture is turned all ways."""
        asked = self._asked(kind)
        if not asked:
            return
        limit = int(self.request.options.get("distance", PDQ_MAX_DISTANCE if kind == "pdq" else 0))
        values = rows[_HASHES[kind]].to_pylist()
        good = [value is not None for value in values]
        if kind == "pdq":
            qualities = rows["pdq_quality"].to_pylist()
            good = [has and (quality or 0) >= PDQ_MIN_QUALITY for has, quality in zip(good, qualities, strict=True)]
        at = np.flatnonzero(good)
        if not len(at):
            return
        stored = np.frombuffer(b"".join(values[row] for row in at), np.uint8).reshape(len(at), -1)
        close = np.flatnonzero(NearHashes(np.stack(asked), indexed=False).near(stored, limit))
        for row in close:
            yield int(at[row]), min(int(np.bitwise_count(stored[row] ^ query).sum()) for query in asked)

    def _asked(self, kind: str) -> list[NDArray[np.uint8]]:
        if isinstance(self.told, dict):
            good = int(self.told.get("pdq_quality", PDQ_MIN_QUALITY)) >= PDQ_MIN_QUALITY
            texts = (
                [self.told.get("pdq", ""), *self.told.get("pdq_turned", "").split()] if kind == "pdq" and good else []
            )
        else:
            texts = [self.told] if self.request.kind == kind else []
        return [np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts if text]

    def _neighbours(self, store: Store, part: Part, sure: set[bytes]) -> None:
        """Note the pictures of a part whose vectors are near the asked one's."""
        query = np.frombuffer(bytes.fromhex(self.told["vector"]), np.float16).astype(np.float32)
        for embed in _embeds(store, part, str(self.told.get("model", ""))):
            with embed.open(store, "img.npy") as handle:
                vectors = np.load(handle).astype(np.float32)
            if vectors.shape[1:] != query.shape:
                continue
            cosines = vectors @ query
            uids = embed.table(store, columns=["uid"])["uid"]
            for row in np.flatnonzero(cosines >= PROPOSE_COS):
                uid = uids[int(row)].as_py()
                if uid not in sure:
                    match = Match(uid, part.key, "neighbour", round(float(cosines[row]), 4), "proposed")
                    self.near.append((float(cosines[row]), match))
        self.near = sorted(self.near, key=lambda item: (-item[0], item[1].uid))[:PROPOSE_MOST]

    def proposals(self, sure: dict[bytes, Match]) -> list[Match]:
        """Return the nearest neighbours that are not sure already."""
        return [match for _, match in self.near if match.uid not in sure]

    def refused(self, store: Store) -> Iterator[Match]:
        """Yield rows refused at extraction whose address is meant; they have no uid of their own, a hash of the URL stands in."""
        if not self.lists.has("url", "url_prefix", "host", "domain"):
            return
        for name in store.names("extract"):
            part = (
                find(store, "extract", name.rsplit("/", 1)[1].removesuffix(".json")) if name.endswith(".json") else None
            )
            if part is None or "refused.parquet" not in part.files:
                continue
            rows = part.table(store, "refused.parquet", columns=["url", "page_url"])
            hits = self.lists.urls(rows["url"]) | self.lists.urls(rows["page_url"])
            for url in rows["url"].filter(pa.array(hits)).to_pylist():
                if url:
                    yield Match(uid_of(url, ""), "", "refused", None, "confirmed", {"url": url})


def _embeds(store: Store, part: Part, model: str) -> Iterator[Part]:
    for name in store.names("embed"):
        found = find(store, "embed", name.rsplit("/", 1)[1].removesuffix(".json")) if name.endswith(".json") else None
        if found is not None and found.inputs[:1] == [part.key]:
            yield found


def _copies(store: Store, found: dict[bytes, Match]) -> dict[bytes, Match]:
    """Return the other members of the groups of copies that the rows found are in."""
    members: dict[bytes, None] = {}
    for name in store.names("copies"):
        part = find(store, "copies", name.rsplit("/", 1)[1].removesuffix(".json")) if name.endswith(".json") else None
        if part is None:
            continue
        rows = part.table(store, columns=["uid", "group"])
        mine = pc.is_in(rows["uid"].combine_chunks(), value_set=pa.array(list(found), pa.binary(16)))
        groups = pc.unique(rows["group"].combine_chunks().filter(mine))
        members |= dict.fromkeys(
            rows["uid"].combine_chunks().filter(pc.is_in(rows["group"].combine_chunks(), value_set=groups)).to_pylist()
        )
    wanted = pa.array([uid for uid in members if uid not in found], pa.binary(16))
    more: dict[bytes, Match] = {}
    for part in candidates(store) if len(wanted) else ():
        uids = part.table(store, columns=["uid"])["uid"].combine_chunks()
        here = [Match(uid, part.key, "copy") for uid in uids.filter(pc.is_in(uids, value_set=wanted)).to_pylist()]
        more |= {match.uid: match for match in with_facts(store, part, fetches(store, part.key), here)}
    return more


def with_facts(store: Store, part: Part, fetched: Sequence[Part], found: Sequence[Match]) -> list[Match]:
    """Return matches with what the verifier will look for: address, text and the picture's hashes; all of it will be sealed."""
    if not found:
        return []
    wanted = pa.array([match.uid for match in found], pa.binary(16))
    facts: dict[bytes, dict[str, Any]] = {match.uid: {} for match in found}
    for table in [
        part.table(store, columns=_CANDIDATE_COLUMNS),
        *(g.table(store, columns=FETCH.names) for g in fetched),
    ]:
        for row in table.filter(pc.is_in(table["uid"].combine_chunks(), value_set=wanted)).to_pylist():
            mine = facts[row["uid"]]
            for name in ("url", "text", "sha256", "md5", "phash64", "pdq256", "creator"):
                value = row.get(name)
                if value is not None:
                    mine[name] = value.hex() if isinstance(value, bytes) else value
    return [Match(m.uid, m.part, m.how, m.score, m.state, facts[m.uid]) for m in found]
