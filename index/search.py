"""Ask a data set for its nearest pictures by text, picture, URL, uid, or sums of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from index.answering import Ranked, ranked
from index.encoder import Encoder
from index.hidden import Hidden
from index.hits import COLUMNS, Hit, hit
from index.lease import Lease, Lent
from index.opened import F32, Ids, Opened
from index.query import Query, Term
from index.reciprocal import mutual
from index.record import read_record
from index.terms import vectors
from pipeline.errors import FormatError
from pipeline.snapshot import Snapshot, require_latest
from pipeline.store import Store
from pipeline.tombstones import read as read_tombstones

T = TypeVar("T")


class Searcher:
    """An opened index of the newest snapshot; results are joined by id, never by position.

        searcher = Searcher(Store.open_url("out/gimp"))
        hits = searcher.search(Query((Term(text="a red fruit"),), k=20, where=(parse("width>=256"),)))

    Several threads may share one. Nobody who is hidden is ever shown: tombstones are looked at in every search, and
    count within a quarter of a second. `refresh` brings in a newer snapshot while searches run.
    """

    def __init__(self, store: Store, device: str = "auto") -> None:
        self.store = store
        self.device = device
        snapshot = require_latest(store)
        self._lease = Lease(Lent(Opened(store, snapshot), Encoder(snapshot, device)))
        self._hidden = Hidden(store)

    @property
    def opened(self) -> Opened:
        """Return the newest opened index, for questions of facts; long work with it belongs into `using`."""
        return self._lease.newest.opened

    @property
    def snapshot(self) -> Snapshot:
        """Return the snapshot that is searched now."""
        return self.opened.snapshot

    def hidden(self) -> frozenset[bytes]:
        """Return the uids that must not be shown now; reads the store where the last look is older than a quarter of a second."""
        return self._hidden.uids()

    def shown(self, ids: Ids) -> Ids:
        """Return those of some ids that are not hidden now."""
        return ids[~self._hidden.among(ids)]

    @contextmanager
    def using(self) -> Iterator[Opened]:
        """Lend the newest opened index; it stays open to the end of the block, whatever `refresh` does meanwhile."""
        with self._lease.use() as lent:
            yield lent.opened

    def refresh(self) -> bool:
        """Open the index of a newer snapshot, or one that was written anew, where there is one; tells whether there was.

        Running searches end on the old one, which is closed after the last of them.
        """

        def newer(now: Lent) -> Lent | None:
            newest = require_latest(self.store)
            record = read_record(self.store, newest)
            if record is None or record == now.opened.record:
                return None
            # vectors and the model that asks for them change hands together
            encoder = now.encoder if now.encoder.fits(newest) else Encoder(newest, self.device)
            return Lent(Opened(self.store, newest), encoder)

        return self._lease.replace(newer)

    def close(self) -> None:
        """Give back files and memory when the last running search is done."""
        self._lease.close()

    def by_text(self, text: str, k: int) -> list[Hit]:
        """Return the pictures nearest to a text."""
        return self.search(Query((Term(text=text),), k))

    def by_image(self, path: Path, k: int) -> list[Hit]:
        """Return the pictures nearest to a picture file."""
        return self.search(Query((Term(picture=path),), k))

    def by_url(self, url: str, k: int) -> list[Hit]:
        """Return the neighbours of the data set's own picture of that URL, itself first; InputError when it has none."""
        return self.search(Query((Term(url=url),), k))

    def by_uid(self, uid: str, k: int) -> list[Hit]:
        """Return the neighbours of a sample, itself first; InputError when the data set has none of that uid."""
        return self.search(Query((Term(uid=uid),), k))

    def search(self, query: Query, *, pictures: bool = True) -> list[Hit]:
        """Return what a query finds, nearest first; what is hidden by now is not among it and takes nobody's place.

        Filters, hiding and copies are no reason for a short answer: it holds min(k, what qualifies) hits. Without
        `pictures` the hits' bytes are left empty, which spares the reading.
        """
        return self.search_many([query], pictures=pictures)[0]

    def search_many(self, queries: Sequence[Query], *, pictures: bool = True) -> list[list[Hit]]:
        """Return what each of several queries finds, as `search` would; texts are encoded and vectors compared together."""

        def found(lent: Lent) -> list[list[Hit]]:
            asked = vectors(lent.opened, lent.encoder, self._hidden, [query.terms for query in queries])
            return self._answers(lent, queries, asked, pictures)

        return self._lately(found)

    def search_vectors(self, queries: Sequence[Query], asked: F32, *, pictures: bool = False) -> list[list[Hit]]:
        """Return what queries find whose vectors f32[Q,D] are known already; their terms are not looked at."""
        return self._lately(lambda lent: self._answers(lent, queries, asked, pictures))

    def reciprocal(self, query: Query, *, pictures: bool = True) -> list[Hit]:
        """Return those of a query's answer that would find what is asked among their own `k` nearest as well.

        k-reciprocal neighbours (Zhong et al. 2017, arXiv 1701.08398, section 3.1). Each answer's neighbours are those of the
        whole snapshot, itself not counted.
        """

        def found(lent: Lent) -> list[Hit]:
            asked = vectors(lent.opened, lent.encoder, self._hidden, [query.terms])
            near = ranked(lent, self._hidden, [query], asked)[0]
            return self._hits(lent.opened, mutual(lent.opened, near, query), pictures)

        return self._lately(found)

    def _answers(self, lent: Lent, queries: Sequence[Query], asked: F32, pictures: bool) -> list[list[Hit]]:
        return [self._hits(lent.opened, one, pictures) for one in ranked(lent, self._hidden, queries, asked)]

    def _lately(self, found: Callable[[Lent], T]) -> T:
        """Return what is found in the newest index; again when a newer snapshot came meanwhile and this one's files went."""
        try:
            with self._lease.use() as lent:
                return found(lent)
        except (FileNotFoundError, FormatError):
            if not self.refresh():
                raise
        with self._lease.use() as lent:
            return found(lent)

    def vector(self, terms: Sequence[Term]) -> F32:
        """Return the sum of the terms' vectors, f32[D] of unit norm."""
        vector: F32 = self.vectors([terms])[0]
        return vector

    def vectors(self, many: Sequence[Sequence[Term]]) -> F32:
        """Return the sum of each list of terms, f32[N,D] of unit norm; all their texts go through the model together."""
        with self._lease.use() as lent:
            return vectors(lent.opened, lent.encoder, self._hidden, many)

    def texts(self, texts: Sequence[str]) -> F32:
        """Return the vectors of texts, f32[N,D] of unit norm."""
        return self._lease.newest.encoder.texts(texts)

    def _hits(self, opened: Opened, found: Ranked, pictures: bool) -> list[Hit]:
        if not len(found.ids):
            return []
        rows = opened.facts(found.ids, list(COLUMNS)).to_pylist()
        hits = [hit(row, cos) for row, cos in zip(rows, found.cos.tolist(), strict=True)]
        if pictures:
            got = list(zip(hits, opened.pictures(found.ids), strict=True))
            for one, data in got:
                if data is None:
                    self._excuse(opened, one)
            hits = [replace(one, picture=data) for one, data in got if data is not None]
        hidden = self._hidden.uids()  # reading takes its time
        return [one for one in hits if bytes.fromhex(one.uid) not in hidden]

    def _excuse(self, opened: Opened, one: Hit) -> None:
        """Raise FormatError when a sample's picture is gone and nobody asked for that."""
        if bytes.fromhex(one.uid) not in read_tombstones(self.store).uids():
            raise FormatError(
                f"snapshot {opened.snapshot.folder} holds no picture of sample {one.uid}; `tamis verify` tells more"
            )
