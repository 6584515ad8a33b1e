"""The stage that looks at pictures: CLIP vectors of both sides and pixel statistics, decoding overlapped with the model."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.vectorart import picture_stats
from pipeline.clip_spec import ModelSpec
from pipeline.config import ClipConfig
from pipeline.errors import ConfigError
from pipeline.rows import decode_stored
from pipeline.stage import Draft, Outcome, Part, Stage, run
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.clip_model import ClipModel

U8 = NDArray[np.uint8]
F16 = NDArray[np.float16]

_TEXT_BATCH = 256


def stage(config: ClipConfig) -> Stage:
    """Return the stage; inputs are the candidates part and one fetch part."""
    spec = ModelSpec(config.model, config.pretrained, config.precision)
    return Stage(
        name="embed",
        fn=lambda draft: _embed(draft, spec, config),
        config=spec.identity(),
        version=1,
    )


def _embed(draft: Draft, spec: ModelSpec, config: ClipConfig) -> Outcome:
    candidates, fetched = draft.inputs
    rows = fetched.table(draft.store, columns=["uid", "reason", "tar_offset", "tar_bytes"])
    rows = rows.filter(pc.is_null(rows["reason"]))
    texts = _texts(candidates, rows["uid"], draft.store)
    from pipeline import clip_model  # loads torch: only where there are pictures to look at

    model = clip_model.load(spec, config.device, config.compile)
    _hold_to(draft.store, spec, model.weights_sha256)
    pictures, row_of = _distinct(rows)
    image_emb, stats = _embed_pictures(draft.store, fetched, pictures, model, config.batch)
    text_emb = _embed_texts(texts, model)
    image_emb = image_emb[row_of]
    finite = np.isfinite(image_emb).all(axis=1) & np.isfinite(text_emb).all(axis=1)
    np.save(draft.path("img.npy"), image_emb[finite])
    np.save(draft.path("text.npy"), text_emb[finite])
    columns = {"uid": rows["uid"], **{name: pa.array(values[row_of]) for name, values in stats.items()}}
    draft.table(pa.table(columns).filter(pa.array(finite)))
    lost = int((~finite).sum())
    facts = {"dimensions": int(image_emb.shape[1]), "preprocessing": model.preprocessing(), "pictures": len(pictures)}
    facts["weights_sha256"] = model.weights_sha256
    return Outcome(rows.num_rows, rows.num_rows - lost, {"embed_nonfinite": lost} if lost else {}, facts)


def _hold_to(store: Store, spec: ModelSpec, weights_sha256: str) -> None:
    """Hold a data set to the weights that were first used under a hub's or a tag's name; ConfigError for others.

    A name's file can be replaced at the hub, or differ between machines, and vectors of different weights do not compare.
    """
    names = spec.identity()
    if names["weights_sha256"] is not None:  # local weights are in the embeddings' keys
        return
    first = run(store, Stage("model", lambda _: Outcome(0, 0, {}, {"weights_sha256": weights_sha256}), names))
    if (known := first.facts["weights_sha256"]) != weights_sha256:
        raise ConfigError(
            f"clip.model = {spec.model!r}: this machine has weights of sha256 {weights_sha256}, but the data set's "
            f"embeddings were made with {known}; put that file into the cache, or start a new data set"
        )


def _texts(candidates: Part, uids: pa.ChunkedArray, store: Store) -> list[str]:
    table = candidates.table(store, columns=["uid", "text"])
    at = pc.index_in(uids.combine_chunks(), table["uid"].combine_chunks())
    texts: list[str] = table["text"].take(at).to_pylist()
    return texts


def _distinct(rows: pa.Table) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Return the distinct pictures as (offset, bytes), in tar order, and which one each row has."""
    offsets = rows["tar_offset"].to_numpy()
    distinct, first, inverse = np.unique(offsets, return_index=True, return_inverse=True)
    sizes = rows["tar_bytes"].to_numpy()[first]
    return list(zip(distinct.tolist(), sizes.tolist(), strict=True)), inverse


def _embed_pictures(
    store: Store, fetched: Part, pictures: list[tuple[int, int]], model: "ClipModel", batch: int
) -> tuple[F16, dict[str, NDArray[Any]]]:
    """Return f16[P,D] unit norm and the statistics of each picture; one batch is decoded while the last is in the model."""
    vectors: list[F16] = []
    stats: list[dict[str, float]] = []
    for pixels, batch_stats in _prefetched(store, fetched, pictures, model, batch):
        vectors.append(model.images(pixels))
        stats.extend(batch_stats)
    if not vectors:
        empty = model.images(np.zeros((1, model.size_px, model.size_px, 3), np.uint8))[:0]
        names = picture_stats(np.zeros((8, 8, 3), np.uint8))
        return empty, {name: np.zeros(0, np.float32) for name in names}
    return np.concatenate(vectors), {name: np.array([s[name] for s in stats], np.float32) for name in stats[0]}


def _prefetched(
    store: Store, fetched: Part, pictures: list[tuple[int, int]], model: "ClipModel", batch: int
) -> Iterator[tuple[U8, list[dict[str, float]]]]:
    def load(members: list[tuple[int, int]]) -> tuple[U8, list[dict[str, float]]]:
        pixels = np.empty((len(members), model.size_px, model.size_px, 3), np.uint8)
        found = []
        for i, (offset, size) in enumerate(members):
            tar.seek(offset)
            rgb = decode_stored(tar.read(size))
            pixels[i] = model.prepare(rgb)
            found.append(picture_stats(rgb))
        return pixels, found

    batches = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    with fetched.open(store, "tar") as tar, ThreadPoolExecutor(1) as pool:
        waiting: Future[tuple[U8, list[dict[str, float]]]] | None = None
        for members in batches:
            upcoming = pool.submit(load, members)
            if waiting is not None:
                yield waiting.result()
            waiting = upcoming
        if waiting is not None:
            yield waiting.result()


def _embed_texts(texts: list[str], model: "ClipModel") -> F16:
    """Return f16[N,D] unit norm; equal texts are embedded once, in order of length so that batches pad little."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    vectors = [model.texts(distinct[i : i + _TEXT_BATCH]) for i in range(0, len(distinct), _TEXT_BATCH)]
    if not vectors:
        return model.texts(["-"])[:0]
    at = {text: i for i, text in enumerate(distinct)}
    return np.concatenate(vectors)[[at[text] for text in texts]]
