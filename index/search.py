"""Ask a data set for its nearest pictures by text, picture, URL or uid."""

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from filters.urls import canonical_url
from index.build import folder, local_copy, read_record
from index.hits import Hit
from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.ids import faiss_id
from pipeline.pack import read_members, shard_files
from pipeline.snapshot import Snapshot, require_latest
from pipeline.store import Store
from pipeline.tombstones import Watch
from pipeline.tombstones import read as read_tombstones

if TYPE_CHECKING:
    from pipeline.clip_model import ClipModel

F32 = NDArray[np.float32]


class Searcher:
    """An opened index of the newest snapshot; results are joined by id, never by position."""

    def __init__(self, store: Store, device: str = "auto") -> None:
        self.store = store
        self.snapshot: Snapshot = require_latest(store)
        self.device = device
        if read_record(store, self.snapshot) is None:
            raise InputError(
                f"{store.root}: snapshot {self.snapshot.folder} has no index; run `tamis ingest` again to build it"
            )
        base = folder(self.snapshot)
        with tempfile.TemporaryDirectory() as scratch:
            self.index: Any = faiss.read_index(str(local_copy(store, f"{base}/image.faiss", Path(scratch))))
        with store.open(f"{base}/rows.parquet") as handle:
            self.rows = pq.read_table(handle).combine_chunks()
        self._watch = Watch(store)
        self._hidden_uids: frozenset[bytes] = frozenset()
        self._hidden: frozenset[str] = frozenset()

    def by_text(self, text: str, k: int) -> list[Hit]:
        """Return the pictures nearest to a text."""
        return self._nearest(self._model().texts([text]), k)

    def by_image(self, path: Path, k: int) -> list[Hit]:
        """Return the pictures nearest to a picture file."""
        try:
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGBA")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(f"{path}: not a picture that can be read ({error})") from error
        white = Image.new("RGBA", picture.size, "white")
        rgb = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
        model = self._model()
        return self._nearest(model.images(model.prepare(rgb)[None]), k)

    def by_url(self, url: str, k: int) -> list[Hit]:
        """Return the neighbours of the data set's own picture of that URL, itself first; InputError when it has none."""
        wanted = canonical_url(url)
        same = pc.equal(self.rows["url"], wanted) if wanted else None
        at = self._first_shown(same)
        if at is None:
            raise InputError(f"no picture of this data set (snapshot {self.snapshot.folder}) has the URL {url}")
        return self._nearest(self._stored(at), k)

    def by_uid(self, uid: str, k: int) -> list[Hit]:
        """Return the neighbours of a sample, itself first; InputError when the data set has none of that uid."""
        at = self._first_shown(pc.equal(self.rows["key"], uid.lower()))
        if at is None:
            raise InputError(f"no sample of this data set (snapshot {self.snapshot.folder}) has the uid {uid}")
        return self._nearest(self._stored(at), k)

    def _first_shown(self, matches: pa.ChunkedArray | None) -> int | None:
        """Return the first row that matches and is not hidden: to the one who asks, hidden is the same as unknown."""
        hidden = self._hidden_keys()
        found = np.flatnonzero(matches.to_numpy()) if matches is not None else ()
        return next((int(at) for at in found if self.rows["key"][int(at)].as_py() not in hidden), None)

    def _hidden_keys(self) -> frozenset[str]:
        uids = self._watch.hidden()
        if uids is not self._hidden_uids:
            self._hidden_uids, self._hidden = uids, frozenset(uid.hex() for uid in uids)
        return self._hidden

    def _stored(self, at: int) -> F32:
        wanted = faiss_id(bytes.fromhex(self.rows["key"][at].as_py()))
        if hasattr(self.index, "set_direct_map_type"):  # IVF kinds find a vector by id through a hash table (2)
            self.index.set_direct_map_type(2)
        return np.asarray(self.index.reconstruct(wanted), np.float32)[None]

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

    def _nearest(self, vectors: NDArray[Any], k: int) -> list[Hit]:
        """Return the nearest that are not hidden; asks for more while hidden ones take the places of hits."""
        query = np.ascontiguousarray(vectors, dtype=np.float32)
        wanted = ask = min(k, self.rows.num_rows)
        while ask:
            hidden = self._hidden_keys()
            cosines, found = self.index.search(query, ask)
            there = found[0] >= 0
            at = pc.index_in(pa.array(found[0][there], pa.int64()), self.rows["id"].combine_chunks())
            known = pc.is_valid(at)
            rows = self.rows.take(at.drop_null()).to_pylist()
            ranked = zip(rows, cosines[0][there][known.to_numpy(zero_copy_only=False)], strict=True)
            shown = [(row, float(cos)) for row, cos in ranked if row["key"] not in hidden][:wanted]
            if len(shown) == wanted or not there.all() or ask == self.rows.num_rows:
                return self._hits(shown)
            ask = min(max(2 * ask, ask + wanted), self.rows.num_rows)
        return []

    def _hits(self, shown: Sequence[tuple[dict[str, Any], float]]) -> list[Hit]:
        hits = []
        for row, cos in shown:
            try:
                hits.append(self._hit(row, cos))
            except (tarfile.TarError, StopIteration):  # erased while we looked, or a broken shard
                if bytes.fromhex(row["key"]) not in read_tombstones(self.store).uids():
                    raise
        hidden = self._hidden_keys()  # reading pictures takes its time
        return [hit for hit in hits if hit.uid not in hidden]

    def _hit(self, row: dict[str, Any], cos: float) -> Hit:
        return Hit(
            uid=row["key"], url=row["url"], caption=row["caption"], cos=cos, width=row["width"], height=row["height"],
            page_url=row["page_url"], domain=row["domain"], picture=self._picture(row),
        )  # fmt: skip

    def _picture(self, row: dict[str, Any]) -> bytes:
        name = shard_files(self.snapshot.folder, self.snapshot.shards[row["shard"]].number)["tar"]
        with self.store.open(name) as handle:
            handle.seek(row["shard_offset"])
            members = read_members(handle.read(row["shard_bytes"]) + b"\0" * 1024)
        return next(data for name, data in members.items() if not name.endswith((".txt", ".json")))


def as_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits without their pictures, as plain values."""
    return [{name: value for name, value in hit.__dict__.items() if name != "picture"} for hit in hits]
