"""Keep pairs whose picture and text agree, by the cosine of their CLIP embeddings."""

import numpy as np
import pyarrow as pa

from filters.base import Filter, first_reason, numbers, vectors


def _cosine(table: pa.Table) -> pa.Table:
    image, text = vectors(table, "image_emb"), vectors(table, "text_emb")
    dot = np.einsum("nd,nd->n", image, text)
    # float16 rounding leaves norms of 1 ± 5e-4; a zero vector has no direction and so no cosine
    norm = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
    cosine = np.divide(dot, norm, out=np.full_like(dot, np.nan), where=norm > 0)
    return pa.table({"clip_cos": pa.array(np.clip(cosine, -1.0, 1.0), type=pa.float32(), from_pandas=True)})


def clip(*, threshold: float) -> Filter:
    """Drop pairs whose cosine is below `threshold`, which depends on the model (tamis-mini 0.10, ViT-B/32 0.28)."""

    def decide(table: pa.Table) -> pa.Array:
        cosine = numbers(table, "clip_cos")
        # scores are stored as float32, so the threshold is rounded alike and "at" means at
        return first_reason(
            len(table), [(~np.isfinite(cosine), "clip_missing"), (cosine < np.float32(threshold), "clip_low")]
        )

    return Filter("clip", ("image_emb", "text_emb"), ("clip_missing", "clip_low"), _cosine, decide)
