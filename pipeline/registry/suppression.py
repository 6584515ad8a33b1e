"""What candidates and pictures are matched against: the registry's lists, mapped into memory from files of the data set."""

import json
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters import removal
from filters.perceptual import PDQ_MIN_QUALITY
from filters.url_tags import tags
from filters.urls import canonical_url, host, registrable_domain
from pipeline.errors import InputError
from pipeline.registry.digests import Digests, Tags, open_digests, open_tags
from pipeline.registry.near_hashes import NearHashes
from pipeline.registry.registry import Registry
from pipeline.registry.suppression_files import FOLDER, META, NEAR, SORTED, write, write_looks, write_value
from pipeline.store import Store

Bools = NDArray[np.bool_]
_URLS = ("url", "url_prefix", "host", "domain")


@dataclass(frozen=True)
class Suppression:
    """The opened lists of one edition; all matching of candidates and pictures is here."""

    folder: Path
    meta: dict[str, Any]

    @classmethod
    def open(cls, store: Store, edition: str) -> "Suppression":
        """Open the lists of an edition; opened once a process, fetched to scratch first from an object store."""
        return _opened(store, edition)

    @classmethod
    def of_owners(cls, registry: Registry, owners: Sequence[str], folder: Path) -> "Suppression":
        """Make lists of what some requests or imports name, in a folder that lives as long as they do."""
        return cls(folder, write(registry, folder, owners))

    @classmethod
    def of_looks(cls, registry: Registry, folder: Path) -> "Suppression":
        """Make lists of the perceptual hashes alone and read them into memory; the folder may go then."""
        made = cls(folder, write_looks(registry, folder))
        _ = made._near
        return made

    @classmethod
    def of_value(cls, kind: str, value: str | Mapping[str, str], folder: Path) -> "Suppression":
        """Make lists of one value that is in no registry, in a folder that lives as long as they do; InputError when it is none."""
        seed = secrets.token_bytes(32)
        if isinstance(value, str):
            form = removal.normal(kind, value)
            if form is None:
                raise InputError(f"{value!r} is no {kind}")
            hashes = {kind: form} if isinstance(form, bytes) else {}
            entries = [] if isinstance(form, bytes) else removal.entries(seed, kind, form)
        else:  # a picture, named by its hashes
            hashes = {name: bytes.fromhex(value[name]) for name in ("sha256", "md5") if name in value}
            entries = []
        entries += [(name, removal.listed_hash(seed, name, data), 0) for name, data in hashes.items()]
        return cls(folder, write_value(seed, entries, folder))

    @cached_property
    def _sorted(self) -> dict[str, Digests]:
        return {kind: open_digests(self.folder, kind) for kind in SORTED if self.has(kind)}

    @cached_property
    def seed(self) -> bytes:
        """Return the secret that names are digested with."""
        return bytes.fromhex(self.meta["seed"])

    @cached_property
    def _tags(self) -> Tags:
        return open_tags(self.folder, "url")

    @cached_property
    def _near(self) -> dict[str, NearHashes]:
        return {
            kind: NearHashes(np.load(self.folder / f"{kind}.npy"), np.load(self.folder / f"{kind}.radii.npy"))
            for kind in NEAR
            if self.has(kind)
        }

    def has(self, *kinds: str) -> bool:
        """Tell whether anything of these kinds is listed."""
        return any(self.meta["counts"][kind] for kind in kinds)

    def names(self, rows: pa.Table) -> Bools:
        """Tell of each row (uid, url, text, page_url; domain where it is known) whether its URL, its page's or its words are listed.

        Variants with http/https and with a leading `www.` are one resource here (filters.removal).
        """
        barred = np.zeros(rows.num_rows, np.bool_)
        if self.has("uid"):
            barred |= self._among("uid", rows["uid"].to_pylist())
        if self.has(*_URLS):
            barred |= self.urls(rows["url"], rows["domain"] if "domain" in rows.column_names else None)
            barred |= self.pages(rows["page_url"])
        if self.has("text"):
            barred |= self.phrases("text", rows["text"].to_pylist())
        return barred

    def urls(self, urls: pa.ChunkedArray, domains: pa.ChunkedArray | None = None) -> Bools:
        """Tell of each canonical URL (null: no) whether it, its host, its domain or a prefix of it is listed."""
        plain = urls.fill_null("http:///").combine_chunks()
        barred = np.zeros(len(plain), np.bool_)
        if self.has("url"):
            rows = self._tags.likely(tags(self.seed, plain))
            likely = plain.take(pa.array(rows)).cast(pa.binary()).to_pylist()
            barred[rows] = self._sorted["url"].among(removal.url_digests(self.seed, likely))
        if self.has("domain") and domains is not None:
            coded = domains.fill_null("").combine_chunks().dictionary_encode()
            barred |= self._listed("domain", coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        if self.has("host", "url_prefix") or (self.has("domain") and domains is None):
            barred |= self._hosts(plain.to_pylist(), with_domains=domains is None)
        return barred

    def pages(self, urls: pa.ChunkedArray) -> Bools:
        """Tell the same of URLs that many rows share and that need not be canonical."""
        coded = urls.fill_null("").combine_chunks().dictionary_encode()
        canonical = [canonical_url(url) if url else None for url in coded.dictionary.to_pylist()]
        barred = self.urls(pa.chunked_array([pa.array(canonical, pa.string())]))
        return np.asarray(barred[coded.indices.to_numpy()], np.bool_)

    def _hosts(self, urls: Sequence[str], *, with_domains: bool) -> Bools:
        places = [url.split("/", 3)[2] for url in urls]
        numbers = {at: number for number, at in enumerate(dict.fromkeys(places))}
        names = [host(f"http://{at}/") if at else "" for at in numbers]
        barred = self._listed("host", [name.removeprefix("www.") for name in names])
        if with_domains and self.has("domain"):
            barred |= self._listed("domain", [registrable_domain(name) for name in names])
        rows = np.fromiter((numbers[at] for at in places), np.int64, len(places))
        found = np.asarray(barred[rows], np.bool_)
        if self.has("url_prefix"):
            hosts = [removal.prefix_host(removal.url_key(f"http://{at}/")) for at in numbers]
            lengths = self._prefix_lengths(hosts)
            for row in np.flatnonzero(np.isin(rows, list(lengths))).tolist():
                key = removal.url_key(urls[row])
                cuts = [key[:length] for length in lengths[rows[row]] if len(key) >= length]
                found[row] |= bool(self._listed("url_prefix", cuts).any())
        return found

    def _prefix_lengths(self, hosts: Sequence[str]) -> dict[int, list[int]]:
        """Return number of a host → lengths of the prefixes listed on it."""
        some = np.flatnonzero(self._listed("prefix_host", hosts)).tolist()
        asked = [(at, length) for at in some for length in self.meta["lengths"]["prefix_length"]]
        listed = self._listed("prefix_length", [f"{hosts[at]} {length}" for at, length in asked])
        found: dict[int, list[int]] = {}
        for (at, length), is_listed in zip(asked, listed.tolist(), strict=True):
            if is_listed:
                found.setdefault(at, []).append(length)
        return found

    def _listed(self, kind: str, forms: Sequence[str]) -> Bools:
        if not self.has(kind):
            return np.zeros(len(forms), np.bool_)
        encoded = (form.encode("utf-8", "surrogatepass") for form in forms)
        return self._sorted[kind].among(removal.digests(self.seed, kind, encoded))

    def _among(self, kind: str, values: Sequence[bytes | None]) -> Bools:
        present = np.array([value is not None for value in values], np.bool_)
        if not self.has(kind) or not present.any():
            return np.zeros(len(values), np.bool_)
        asked = (removal.listed_hash(self.seed, kind, value or bytes(16)) for value in values)
        return self._sorted[kind].among(b"".join(asked)) & present

    def phrases(self, kind: str, texts: Sequence[str | None]) -> Bools:
        """Tell of each text (kind `text`) or rights notice (`creator`) whether a listed phrase stands in it as whole words."""
        found = np.zeros(len(texts), np.bool_)
        if not self.has(kind):
            return found
        runs: list[str] = []
        owners: list[int] = []
        for row, text in enumerate(texts):
            mine = removal.word_runs(text, self.meta["lengths"][kind]) if text else []
            runs += mine
            owners += [row] * len(mine)
        found[np.array(owners, np.int64)[self._listed(kind, runs)]] = True
        return found

    def exact(self, kind: str, hashes: Sequence[bytes | None]) -> Bools:
        """Tell of each sha256 or md5 of a picture's original bytes whether it is listed."""
        return self._among(kind, hashes)

    def perceptual(
        self, pdq: Sequence[bytes | None], quality: Sequence[int | None], phash: Sequence[bytes | None], bits: int
    ) -> Bools:
        """Tell of each picture whether it is near a listed one: within the entry's radius, else within `bits` (PDQ) or none (pHash).

        A PDQ of poor quality says too little to be matched.
        """
        good = [h if h is not None and (q or 0) >= PDQ_MIN_QUALITY else None for h, q in zip(pdq, quality, strict=True)]
        return self._within("pdq", good, bits) | self._within("phash64", phash, 0)

    def _within(self, kind: str, hashes: Sequence[bytes | None], bits: int) -> Bools:
        found = np.zeros(len(hashes), np.bool_)
        known = [row for row, value in enumerate(hashes) if value is not None]
        if self.has(kind) and known:
            # under the mask that listed ones have, which keeps all distances
            mask = np.frombuffer(removal.listed_hash(self.seed, kind, bytes(NEAR[kind])), np.uint8)
            asked = np.frombuffer(b"".join(hashes[row] or b"" for row in known), np.uint8).reshape(-1, NEAR[kind])
            found[known] = self._near[kind].near(asked ^ mask, bits)
        return found


@lru_cache(maxsize=2)
def _opened(store: Store, edition: str) -> Suppression:
    base = f"{FOLDER}/{edition}"
    meta = json.loads(store.read(f"{base}/{META}"))
    folder = store.local(base)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="tamis-lists-"))
        for name in store.names(base):
            with store.open(name) as source, (folder / name.rsplit("/", 1)[1]).open("wb") as target:
                shutil.copyfileobj(source, target)
    return Suppression(folder, meta)
