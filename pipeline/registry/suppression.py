"""What candidates and pictures are matched against: the registry's entries as compact files that workers map into memory."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import func, or_, select

from filters import removal
from filters.perceptual import PDQ_MIN_QUALITY
from filters.urls import host, registrable_domain
from pipeline.registry import clock, place
from pipeline.registry.digests import Digests, Writer, open_digests
from pipeline.registry.near_hashes import NearHashes
from pipeline.registry.registry import Registry
from pipeline.registry.tables import entry
from pipeline.store import Store

_FOLDER: Final = f"{place.FOLDER}/suppression"
_META: Final = "meta.json"
_SORTED: Final = ("url", "url_prefix", "host", "domain", "text", "creator", "uid", "sha256", "md5")
_NEAR: Final = {"pdq": 32, "phash64": 8}
_ROWS: Final = 100_000
Bools = NDArray[np.bool_]


def build(registry: Registry) -> int:
    """Write the registry's active entries as files in the data set's private folder and return their position.

    Files of a position are written once; those of earlier positions go. Memory is bounded: digests come sorted from the
    database (16 bytes and a little each on disk).
    """
    store, position = registry.store, registry.position()
    target = f"{_FOLDER}/{position}"
    if store.exists(f"{target}/{_META}"):
        return position
    with store.scratch() as scratch:
        meta = {"position": position, **write(registry, scratch, None)}
        for path in sorted(scratch.iterdir()):
            store.put(path, f"{target}/{path.name}")
        store.write(f"{target}/{_META}", json.dumps(meta).encode())
    for old in store.folders(_FOLDER):
        if old != target:
            store.delete_folder(old)
    return position


def write(registry: Registry, folder: Path, owners: Sequence[str] | None) -> dict[str, Any]:
    """Write the active, unexpired entries (of some owners, or all) as files, and return what `Suppression` must know."""
    counts = {kind: _write_sorted(registry, kind, folder, owners) for kind in _SORTED}
    counts |= {kind: _write_near(registry, kind, folder, owners) for kind in _NEAR}
    hosts = [[digest.hex(), length] for digest, length in _lengths(registry, "prefix_host", owners)]
    words = sorted({length for _, length in _lengths(registry, "text", owners)})
    return {"seed": registry.seed.hex(), "counts": counts, "prefix_hosts": hosts, "phrase_words": words}


def _rows(kind: str, owners: Sequence[str] | None, *columns: Any) -> Any:
    now = clock.text(clock.now_utc())
    unexpired = or_(entry.c.expires_utc.is_(None), entry.c.expires_utc > now)
    chosen = select(*(columns or (entry.c.digest,))).where(entry.c.kind == kind, entry.c.active, unexpired).distinct()
    return chosen if owners is None else chosen.where(entry.c.owner.in_(owners))


def _digests(registry: Registry, kind: str, owners: Sequence[str] | None) -> Iterator[list[bytes]]:
    with place.reading(registry.engine) as connection:
        rows = _rows(kind, owners).order_by(entry.c.digest)
        found = connection.execution_options(yield_per=_ROWS).execute(rows)
        for batch in found.scalars().partitions(_ROWS):
            yield [bytes(digest) for digest in batch]


def _count(registry: Registry, kind: str, owners: Sequence[str] | None) -> int:
    counted = select(func.count()).select_from(_rows(kind, owners).subquery())
    with place.reading(registry.engine) as connection:
        return int(connection.execute(counted).scalar_one())


def _write_sorted(registry: Registry, kind: str, folder: Path, owners: Sequence[str] | None) -> int:
    """Write a kind's digests, sorted."""
    writer = Writer(folder, kind, count := _count(registry, kind, owners))
    for batch in _digests(registry, kind, owners):
        writer.add(b"".join(batch))
    writer.close()
    return count


def _write_near(registry: Registry, kind: str, folder: Path, owners: Sequence[str] | None) -> int:
    batches = _digests(registry, kind, owners)
    hashes = [np.frombuffer(b"".join(batch), np.uint8).reshape(-1, _NEAR[kind]) for batch in batches]
    all_ = np.concatenate([np.zeros((0, _NEAR[kind]), np.uint8), *hashes])
    np.save(folder / f"{kind}.npy", all_)
    return len(all_)


def _lengths(registry: Registry, kind: str, owners: Sequence[str] | None) -> list[tuple[bytes, int]]:
    with place.reading(registry.engine) as connection:
        found = connection.execute(_rows(kind, owners, entry.c.digest, entry.c.length))
        return [(bytes(digest), length) for digest, length in found]


@dataclass(frozen=True)
class Suppression:
    """The opened lists of one position; all matching of candidates and pictures is here."""

    folder: Path
    meta: dict[str, Any]

    @classmethod
    def of_owners(cls, registry: Registry, owners: Sequence[str], folder: Path) -> "Suppression":
        """Make lists of what some requests or imports name, in a folder that lives as long as they do."""
        return cls(folder, write(registry, folder, owners))

    @classmethod
    def open(cls, store: Store, position: int) -> "Suppression":
        """Open the lists of a position; opened once a process, fetched to scratch first from an object store."""
        return _opened(store, position)

    def __getitem__(self, kind: str) -> Digests:
        return self._sorted[kind]

    @cached_property
    def _sorted(self) -> dict[str, Digests]:
        return {kind: open_digests(self.folder, kind) for kind in _SORTED}

    @cached_property
    def seed(self) -> bytes:
        """Return the secret that names are digested with."""
        return bytes.fromhex(self.meta["seed"])

    @cached_property
    def _prefix_lengths(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for digest, length in self.meta["prefix_hosts"]:
            found.setdefault(bytes.fromhex(digest), []).append(length)
        return found

    @cached_property
    def near(self) -> dict[str, NearHashes]:
        """Return the listed perceptual hashes."""
        return {kind: NearHashes(np.load(self.folder / f"{kind}.npy")) for kind in _NEAR}

    def has(self, *kinds: str) -> bool:
        """Tell whether anything of these kinds is listed."""
        return any(self.meta["counts"][kind] for kind in kinds)

    def names(self, rows: pa.Table) -> Bools:
        """Tell of each row (uid, url, text, page_url) whether it is listed: by its URL, its page's, or its words.

        Variants with http/https and with a leading `www.` are one resource here (filters.removal).
        """
        barred = np.zeros(rows.num_rows, np.bool_)
        if self.has("uid"):
            barred |= self["uid"].among(b"".join(rows["uid"].to_pylist()))
        if self.has("url", "url_prefix", "host", "domain"):
            barred |= self.urls(rows["url"])
            barred |= self.urls(rows["page_url"])
        if self.has("text"):
            barred |= self.phrases(rows["text"].to_pylist())
        return barred

    def urls(self, column: pa.ChunkedArray | pa.Array) -> Bools:
        """Tell of each canonical URL (null: no) whether it, its host, its domain or a prefix of it is listed."""
        chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        coded = chunked.combine_chunks().dictionary_encode()  # a page's URL stands beside each of its pictures
        values = [value or "" for value in coded.dictionary.to_pylist()]
        found = np.zeros(len(values) + 1, np.bool_)  # the last one is null's
        if self.has("url"):
            raw = removal.url_digests(self.seed, [value.encode("utf-8", "surrogatepass") for value in values])
            found[:-1] |= self["url"].among(raw)
        if self.has("host", "domain", "url_prefix"):
            found[:-1] |= self._hosts(values)
        answer: Bools = found[
            np.nan_to_num(coded.indices.to_numpy(zero_copy_only=False), nan=len(values)).astype(np.int64)
        ]
        return answer

    def _hosts(self, urls: Sequence[str]) -> Bools:
        keys = [removal.url_key(url) for url in urls]
        places = [removal.prefix_host(key) for key in keys]
        distinct = {at: number for number, at in enumerate(dict.fromkeys(places))}
        names = [host(f"http://{at}/") if at else "" for at in distinct]
        barred = self._listed("host", names) | self._listed("domain", [registrable_domain(name) for name in names])
        found = barred[[distinct[at] for at in places]]
        if self._prefix_lengths:
            lengths = [self._prefix_lengths.get(removal.digest(self.seed, "prefix_host", at), ()) for at in distinct]
            for row, (key, at) in enumerate(zip(keys, places, strict=True)):
                cuts = [key[:length] for length in lengths[distinct[at]] if len(key) >= length]
                found[row] |= bool(cuts) and bool(self._listed("url_prefix", cuts).any())
        return found

    def _listed(self, kind: str, forms: Sequence[str]) -> Bools:
        if not self.has(kind):
            return np.zeros(len(forms), np.bool_)
        return self[kind].among(b"".join(removal.digest(self.seed, kind, form) for form in forms))

    def phrases(self, texts: Sequence[str | None]) -> Bools:
        """Tell of each text whether a listed phrase stands in it as whole words."""
        found = np.zeros(len(texts), np.bool_)
        for row, text in enumerate(texts):
            grams = [gram for words in self.meta["phrase_words"] for gram in removal.word_runs(text or "", words)]
            found[row] = bool(grams) and bool(self._listed("text", grams).any())
        return found

    def creators(self, names: Sequence[str | None]) -> Bools:
        """Tell of each creator or copyright notice whether it is listed."""
        return self._listed("creator", [removal.text_key(name or "") for name in names])

    def exact(self, kind: str, hashes: Sequence[bytes | None]) -> Bools:
        """Tell of each sha256 or md5 of a picture's original bytes whether it is listed."""
        present = np.array([value is not None for value in hashes], np.bool_)
        if not self.has(kind) or not present.any():
            return np.zeros(len(hashes), np.bool_)
        asked = (removal.listed_hash(self.seed, kind, value or b"") for value in hashes)
        return self[kind].among(b"".join(asked)) & present

    def perceptual(
        self, pdq: Sequence[bytes | None], quality: Sequence[int | None], phash: Sequence[bytes | None], bits: int
    ) -> Bools:
        """Tell of each picture whether a listed PDQ is within so many bits (where its own is good enough), or its pHash listed."""
        found = np.zeros(len(pdq), np.bool_)
        good = np.array(
            [h is not None and (q or 0) >= PDQ_MIN_QUALITY for h, q in zip(pdq, quality, strict=True)], np.bool_
        )
        if self.has("pdq") and good.any():
            asked = [h for h, g in zip(pdq, good, strict=True) if g and h]
            found[good] |= self.near["pdq"].near(self._masked("pdq", asked), bits)
        known = np.array([h is not None for h in phash], np.bool_)
        if self.has("phash64") and known.any():
            found[known] |= self.near["phash64"].near(self._masked("phash64", [h for h in phash if h]), 0)
        return found

    def _masked(self, kind: str, hashes: Sequence[bytes]) -> NDArray[np.uint8]:
        """Return hashes u8[N,B] under the mask that listed ones have, which keeps all distances."""
        mask = removal.listed_hash(self.seed, kind, bytes(_NEAR[kind]))
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, _NEAR[kind]) ^ np.frombuffer(mask, np.uint8)


@lru_cache(maxsize=2)
def _opened(store: Store, position: int) -> Suppression:
    base = f"{_FOLDER}/{position}"
    meta = json.loads(store.read(f"{base}/{_META}"))
    folder = store.local(base)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="tamis-lists-"))
        for name in store.names(base):
            with store.open(name) as source, (folder / name.rsplit("/", 1)[1]).open("wb") as target:
                shutil.copyfileobj(source, target)
    return Suppression(folder, meta)
