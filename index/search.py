"""Ask a data set for its nearest pictures by text, picture, URL, uid, or sums of them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from filters.urls import canonical_url
from index.conditions import Condition
from index.hits import Hit
from index.opened import F32, Found, Opened
from index.query import Query, Term
from index.record import read_record
from pipeline.clip_spec import ModelSpec
from pipeline.errors import FormatError, InputError
from pipeline.snapshot import Snapshot, require_latest
from pipeline.store import Store
from pipeline.tombstones import Watch
from pipeline.tombstones import read as read_tombstones

if TYPE_CHECKING:
    from pipeline.clip_model import ClipModel


class Searcher:
    """An opened index of the newest snapshot; results are joined by id, never by position."""

    def __init__(self, store: Store, device: str = "auto") -> None:
        self.store = store
        self.snapshot: Snapshot = require_latest(store)
        self.device = device
        self.opened = Opened(store, self.snapshot)
        self._watch = Watch(store)
        self._hidden_uids: frozenset[bytes] = frozenset()
        self._hidden: frozenset[str] = frozenset()

    def refresh(self) -> bool:
        """Open the index of a newer snapshot where there is one; tells whether there was."""
        newest = require_latest(self.store)
        if newest.number == self.snapshot.number or read_record(self.store, newest) is None:
            return False
        opened = Opened(self.store, newest)
        self.opened.close()
        self.opened, self.snapshot = opened, newest
        return True

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

    def search(self, query: Query) -> list[Hit]:
        """Return what a query finds, nearest first; what is hidden by now is not among it and takes nobody's place."""
        vector = self.vector(query.terms)
        among = self.opened.matching(query.where) if query.where else None
        most = self.opened.rows if among is None else len(among)
        wanted = ask = min(query.k, most)
        while ask:
            found = self.opened.near(vector[None], ask, modality=query.modality, among=among)[0]
            shown = self._shown(found, query)[:wanted]
            if len(shown) == wanted or len(found.ids) < ask or ask == most:
                return self._hits(shown)
            ask = min(2 * ask, most)
        return []

    def _shown(self, found: Found, query: Query) -> list[tuple[dict[str, Any], float]]:
        hidden = self._hidden_keys()
        there = self.opened.having(found.ids)
        rows = self.opened.facts(found.ids[there]).to_pylist()
        least = -2.0 if query.least_cos is None else query.least_cos
        ranked = zip(rows, found.cos[there].tolist(), strict=True)
        return [(row, cos) for row, cos in ranked if row["key"] not in hidden and cos >= least]

    def vector(self, terms: Sequence[Term]) -> F32:
        """Return the sum of the terms' vectors, f32[D] of unit norm."""
        total = np.zeros(self.opened.record.dimensions, np.float32)
        for term in terms:
            total += np.float32(term.weight) * self._term(term)
        norm = float(np.linalg.norm(total))
        if norm < 1e-6:
            raise InputError("the terms of the query cancel out; give other weights")
        unit: F32 = total / np.float32(norm)
        return unit

    def _term(self, term: Term) -> F32:
        if term.text is not None:
            return np.asarray(self._model().texts([term.text])[0], np.float32)
        if term.picture is not None:
            model = self._model()
            return np.asarray(model.images(model.prepare(_rgb(term.picture))[None])[0], np.float32)
        if term.url is not None:
            return self._stored("url", canonical_url(term.url) or "", f"the URL {term.url}")
        if term.uid is not None:
            return self._stored("key", term.uid.lower(), f"the uid {term.uid}")
        return np.asarray(term.embedding, np.float32)

    def _stored(self, column: str, value: str, named: str) -> F32:
        """Return the vector of the first row that is meant and not hidden: to the one who asks, hidden is the same as unknown."""
        hidden = self._hidden_keys()
        ids = self.opened.matching([Condition(column, "=", value)])
        keys = self.opened.facts(ids, ["key"])["key"].to_pylist()
        there = [one for one, key in zip(ids.tolist(), keys, strict=True) if key not in hidden]
        if not there:
            raise InputError(f"no picture of this data set (snapshot {self.snapshot.folder}) has {named}")
        vector: F32 = self.opened.vectors(np.array(there[:1], np.int64))[0]
        return vector

    def _hidden_keys(self) -> frozenset[str]:
        uids = self._watch.hidden()
        if uids is not self._hidden_uids:
            self._hidden_uids, self._hidden = uids, frozenset(uid.hex() for uid in uids)
        return self._hidden

    def _model(self) -> "ClipModel":
        clip: Any = self.snapshot.config["clip"]
        spec = ModelSpec(clip["model"], clip["pretrained"], clip["precision"])
        recorded = self.snapshot.clip["weights_sha256"]
        self._same_weights(spec, spec.identity()["weights_sha256"], recorded)
        from pipeline import clip_model  # loads torch: a search by URL or uid needs none

        model = clip_model.load(spec, self.device)
        self._same_weights(spec, model.weights_sha256, recorded)
        return model

    def _same_weights(self, spec: ModelSpec, found: str | None, recorded: str | None) -> None:
        if None not in (found, recorded) and found != recorded:
            raise InputError(
                f"the weights of {spec.model} are not those the data set was made with (sha256 {recorded}); "
                "vectors of different models cannot be compared"
            )

    def _hits(self, shown: Sequence[tuple[dict[str, Any], float]]) -> list[Hit]:
        ids = np.array([row["id"] for row, _ in shown], np.int64)
        hits = []
        for (row, cos), picture in zip(shown, self.opened.pictures(ids), strict=True):
            if picture is not None:
                hits.append(_hit(row, cos, picture))
            elif bytes.fromhex(row["key"]) not in read_tombstones(self.store).uids():
                name = f"shard {row['shard']} of snapshot {self.snapshot.folder}"
                raise FormatError(f"{name} holds no picture at byte {row['shard_offset']}; `tamis verify` tells more")
        hidden = self._hidden_keys()  # reading pictures takes its time
        return [hit for hit in hits if hit.uid not in hidden]


def _hit(row: dict[str, Any], cos: float, picture: bytes) -> Hit:
    return Hit(
        uid=row["key"], url=row["url"], caption=row["caption"], cos=cos, width=row["width"], height=row["height"],
        page_url=row["page_url"], domain=row["domain"], picture=picture,
    )  # fmt: skip


def _rgb(picture: bytes | Path) -> NDArray[np.uint8]:
    """Return an encoded picture, upright and on white, as u8[H,W,3]."""
    name = picture if isinstance(picture, Path) else "the picture"
    try:
        with Image.open(picture if isinstance(picture, Path) else BytesIO(picture)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: not a picture that can be read ({error})") from error
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("RGB"))


def as_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits without their pictures, as plain values."""
    return [{name: value for name, value in hit.__dict__.items() if name != "picture"} for hit in hits]
