"""Finding the rows of a data set that a name, a hash or a picture means, whatever became of them.

What is read, of every part once: for names the columns uid, url, page_url, text and domain of the candidates, and where a redirect
led; for hashes, creators and pictures the uid, hashes and rights of the fetches; for look-alikes the picture vectors. Nothing is
indexed: a request is rare, and an index of everybody's hashes would be one more thing to erase from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.perceptual import PDQ_MAX_DISTANCE, PDQ_MIN_QUALITY
from pipeline import snapshot
from pipeline.ids import uid as uid_of
from pipeline.registry.near_hashes import NearHashes
from pipeline.registry.requests import Match
from pipeline.registry.suppression import Suppression
from pipeline.stage import Part, committed, find
from pipeline.store import Store

PROPOSE_COS: Final = 0.8
"""Pictures whose embeddings are at least this near are shown to a person, never hidden by themselves; as copies.neighbour_cos."""
PROPOSE_MOST: Final = 20
URLS: Final = ("url", "url_prefix", "host", "domain")
_CANDIDATES: Final = ["uid", "url", "text", "page_url", "domain"]
RIGHTS: Final = ("creator", "copyright", "copyright_owner")
_FETCHED: Final = ("uid", "reason", "final_url", "sha256", "md5", "pdq256", "pdq_quality", "phash64", *RIGHTS)
_COLUMN: Final = {"sha256": "sha256", "md5": "md5", "pdq": "pdq256", "phash64": "phash64"}
_FACTS: Final = ("url", "text", "final_url", "sha256", "md5", "phash64", "pdq256", *RIGHTS)


def fetches(store: Store, candidates_key: str) -> list[Part]:
    """Return every committed fetch of a candidates part."""
    return list(committed(store, f"fetch/{candidates_key}"))


@dataclass
class Search:
    """One search; `near` collects what lies near a person's picture."""

    store: Store
    kind: str  # filters.removal.KINDS, or `list`
    told: Any  # the value; of a picture what it is recognised by (picture_hashes, picture_vector)
    lists: Suppression  # of that value alone
    distance: int | None = None  # Hamming radius that was asked for
    rows: int = 0  # candidate rows looked at
    pictures: int = 0  # stored pictures looked at
    without: frozenset[bytes] = frozenset()  # uids that are passed over
    most: int | None = None  # matches that are kept with their facts; those beyond are only counted
    matched: int = 0  # rows that are meant, kept or not
    near: list[tuple[float, Match]] = field(default_factory=list)

    def find(self) -> dict[bytes, Match]:
        """Return uid → match over all parts."""
        found: dict[bytes, Match] = {}
        for part in committed(self.store, "candidates"):
            room = None if self.most is None else max(0, self.most - len(found))
            found |= {match.uid: match for match in self.part(part, room)}
        return found

    def part(self, part: Part, room: int | None = None) -> list[Match]:
        """Return what a part has of it, at most `room` matches where that is said; all are counted."""
        how: dict[bytes, tuple[str, float | None]] = {}
        self.rows += part.rows
        fetched = fetches(self.store, part.key)
        if self.lists.has(*URLS, "text", "uid"):
            how |= dict.fromkeys(self._names(part), (self.kind, None))
        if self.lists.has(*URLS, *_COLUMN, "creator") or isinstance(self.told, dict):
            for generation in fetched:
                how |= {uid: found for uid, found in self._fetched(generation).items() if uid not in how}
        if isinstance(self.told, dict) and "vector" in self.told:
            self._neighbours(part, set(how))
        meant = sorted((uid, found) for uid, found in how.items() if uid not in self.without)
        self.matched += len(meant)
        found = [Match(uid, part.key, kind, score) for uid, (kind, score) in meant[:room]]
        return with_facts(self.store, part, fetched, found)

    def _names(self, part: Part) -> list[bytes]:
        rows = part.table(self.store, columns=_CANDIDATES)
        uids: list[bytes] = rows["uid"].combine_chunks().filter(pa.array(self.lists.names(rows))).to_pylist()
        return uids

    def _fetched(self, part: Part) -> dict[bytes, tuple[str, float | None]]:
        """Return uid → how, for rows known by their picture's hash, by its creator, or by where a redirect led."""
        with part.open(self.store, "parquet") as handle:
            file = pq.ParquetFile(handle)
            columns = [name for name in _FETCHED if name in file.schema_arrow.names]
            rows = file.read(columns=columns)
        uids = rows["uid"].to_pylist()
        self.pictures += rows["sha256"].length() - rows["sha256"].null_count
        found: dict[bytes, tuple[str, float | None]] = {}
        for name in RIGHTS:
            if self.lists.has("creator") and name in columns:
                hits = self.lists.phrases("creator", rows[name].to_pylist())
                found |= {uids[at]: ("creator", None) for at in np.flatnonzero(hits)}
        if self.lists.has(*URLS):
            found |= {uids[at]: (self.kind, None) for at in np.flatnonzero(self.lists.urls(rows["final_url"]))}
        for kind in ("phash64", "pdq"):
            found |= {uids[at]: (kind, bits) for at, bits in self._near_hash(kind, rows)}
        for kind in ("md5", "sha256"):
            hits = self.lists.exact(kind, rows[kind].to_pylist())
            found |= {uids[at]: (kind, None) for at in np.flatnonzero(hits)}
        return found

    def _near_hash(self, kind: str, rows: pa.Table) -> Iterator[tuple[int, float | None]]:
        """Yield (row, distance in bits) of pictures near what is asked; a person's picture is turned all ways."""
        values: list[bytes | None] = rows[_COLUMN[kind]].to_pylist()
        if kind == "pdq":
            qualities = rows["pdq_quality"].to_pylist()
            values = [v if (q or 0) >= PDQ_MIN_QUALITY else None for v, q in zip(values, qualities, strict=True)]
        if self.kind == "list":
            none = [None] * len(values)
            pdq, phash = (values, none) if kind == "pdq" else (none, values)
            hits = self.lists.perceptual(pdq, [100] * len(values), phash, PDQ_MAX_DISTANCE)
            yield from ((int(at), None) for at in np.flatnonzero(hits))
            return
        known = [at for at, value in enumerate(values) if value is not None]
        asked = self._asked(kind)
        if not known or not asked:
            return
        limit = self.distance or (PDQ_MAX_DISTANCE if kind == "pdq" else 0)
        stored = np.frombuffer(b"".join(values[at] or b"" for at in known), np.uint8).reshape(len(known), -1)
        _, near, bits = NearHashes(stored, indexed=False).pairs(np.stack(asked), limit)
        for row in np.unique(near).tolist():
            yield known[row], float(bits[near == row].min())

    def _asked(self, kind: str) -> list[NDArray[np.uint8]]:
        texts = [self.told] if self.kind == kind else []
        if isinstance(self.told, dict):
            good = int(self.told.get("pdq_quality", PDQ_MIN_QUALITY)) >= PDQ_MIN_QUALITY
            turned = [self.told.get("pdq", ""), *self.told.get("pdq_turned", "").split()]
            texts = turned if kind == "pdq" and good else []
        return [np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts if text]

    @cached_property
    def _embeds(self) -> Mapping[str, list[Part]]:
        """Return candidates key → what the newest snapshot's model saw of it; other models' vectors say nothing here."""
        newest = snapshot.latest(self.store)
        found: dict[str, list[Part]] = {}
        for number in snapshot.numbers(self.store) if newest is not None else ():
            one = snapshot.read(self.store, number)
            if newest is not None and _weights(one) == _weights(newest):
                for entry in one.parts:
                    for key in entry.stages.get("embed", ()):
                        part = find(self.store, "embed", key)
                        mine = found.setdefault(entry.candidates, [])
                        if part is not None and key not in [known.key for known in mine]:
                            mine.append(part)
        return found

    def _neighbours(self, part: Part, sure: set[bytes]) -> None:
        """Note the pictures of a part whose vectors are near the asked one's."""
        query = np.frombuffer(bytes.fromhex(self.told["vector"]), np.float16).astype(np.float32)
        for embed in self._embeds.get(part.key, ()):
            with embed.open(self.store, "img.npy") as handle:
                vectors = np.load(handle).astype(np.float32)
            if vectors.shape[1:] != query.shape:
                continue
            cosines = vectors @ query
            uids = embed.table(self.store, columns=["uid"])["uid"]
            for row in np.flatnonzero(cosines >= PROPOSE_COS):
                uid = uids[int(row)].as_py()
                if uid not in sure and uid not in self.without:
                    match = Match(uid, part.key, "neighbour", round(float(cosines[row]), 4), "proposed")
                    self.near.append((float(cosines[row]), match))
        best = {match.uid: (cosine, match) for cosine, match in sorted(self.near, key=lambda item: item[0])}
        self.near = sorted(best.values(), key=lambda item: (-item[0], item[1].uid))[:PROPOSE_MOST]

    def proposals(self, sure: Mapping[bytes, Match]) -> list[Match]:
        """Return the nearest neighbours that are not sure already."""
        return [match for _, match in self.near if match.uid not in sure]

    def refused(self) -> dict[bytes, Match]:
        """Return rows refused at extraction whose address is meant; they have no uid of their own, a hash of the URL stands in."""
        found: dict[bytes, Match] = {}
        if self.lists.has(*URLS):
            for part in committed(self.store, "extract"):
                if "refused.parquet" in part.files:
                    rows = part.table(self.store, "refused.parquet", columns=["url", "page_url"])
                    hits = self.lists.pages(rows["url"]) | self.lists.pages(rows["page_url"])
                    urls = rows["url"].filter(pa.array(hits)).drop_null().to_pylist()
                    for url in urls:
                        match = Match(uid_of(url, ""), "", "refused", None, "confirmed", {"url": url})
                        found[match.uid] = match
        return found


def _weights(one: snapshot.Snapshot) -> Any:
    return one.clip.get("weights_sha256")


def copies(store: Store, found: Mapping[bytes, Match]) -> dict[bytes, Match]:
    """Return the other members of the groups of copies that the rows found are in."""
    mine = pa.array(list(found), pa.binary(16))
    members: set[bytes] = set()
    for part in committed(store, "copies"):
        rows = part.table(store, columns=["uid", "group"])
        groups = pc.unique(
            rows["group"].combine_chunks().filter(pc.is_in(rows["uid"].combine_chunks(), value_set=mine))
        )
        members.update(rows["uid"].filter(pc.is_in(rows["group"].combine_chunks(), value_set=groups)).to_pylist())
    wanted = pa.array(sorted(members - set(found)), pa.binary(16))
    more: dict[bytes, Match] = {}
    for part in committed(store, "candidates") if len(wanted) else ():
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
    for table in (part.table(store, columns=_CANDIDATES), *(generation.table(store) for generation in fetched)):
        for row in table.filter(pc.is_in(table["uid"].combine_chunks(), value_set=wanted)).to_pylist():
            mine = facts[row["uid"]]
            for name in _FACTS:
                value = row.get(name)
                if value is not None:
                    mine[name] = value.hex() if isinstance(value, bytes) else value
    for mine in facts.values():
        if mine.get("final_url") == mine.get("url"):
            mine.pop("final_url", None)
    return [Match(m.uid, m.part, m.how, m.score, m.state, facts[m.uid]) for m in found]
