"""Judge pictures by small heads on their stored CLIP embeddings: unsafe content, watermarks, looks.

A scorer is a function f32[N,D] → f32[N]. `mlp` makes one from trained layers (LAION's published heads load through
`pipeline.heads`), `zero_shot` one from the embeddings of prompts. Both belong to the CLIP model they were made with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.base import Filter, first_reason, numbers, vectors

Vectors = NDArray[np.float32]
Scorer = Callable[[Vectors], NDArray[np.float32]]


@dataclass(frozen=True)
class Layer:
    """One affine layer, y = x · weightᵀ + bias, rectified or not."""

    weight: Vectors
    """f32[out,in]"""
    bias: Vectors
    """f32[out]"""
    relu: bool = False


def _unit(rows: Vectors) -> Vectors:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.full_like(rows, np.nan), where=norm > 0), np.float32)


def mlp(layers: Sequence[Layer], *, probability: bool = False) -> Scorer:
    """Chain layers into a scorer; with `probability` the last output goes through the logistic function."""
    if not layers or layers[-1].weight.shape[0] != 1:
        raise ValueError("a head needs at least one layer, and its last must have one output")
    for one, two in pairwise(layers):
        if two.weight.shape[1] != one.weight.shape[0]:
            raise ValueError(f"layers do not fit: {one.weight.shape[0]} outputs into {two.weight.shape[1]} inputs")

    def scorer(embeddings: Vectors) -> NDArray[np.float32]:
        if embeddings.shape[1] != layers[0].weight.shape[1]:
            raise ValueError(f"the head reads {layers[0].weight.shape[1]} dimensions, these have {embeddings.shape[1]}")
        x = _unit(embeddings)
        for layer in layers:
            x = x @ layer.weight.T + layer.bias
            if layer.relu:
                x = np.maximum(x, 0)
        out = x[:, 0]
        # tanh form: no overflow for large logits
        return np.asarray(0.5 * (1 + np.tanh(out / 2)) if probability else out, np.float32)

    return scorer


def zero_shot(positive: Vectors, negative: Vectors, *, scale: float = 100.0) -> Scorer:
    """Score by prompts (text embeddings f32[P,D], f32[Q,D]): the share in [0,1] that softmax gives the positive ones.

    `scale` is the model's inverse temperature (CLIP learned 100).
    """
    prompts = _unit(np.concatenate([positive, negative]).astype(np.float32))

    def scorer(embeddings: Vectors) -> NDArray[np.float32]:
        logits = scale * (_unit(embeddings) @ prompts.T)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights[:, : len(positive)].sum(axis=1) / weights.sum(axis=1), np.float32)

    return scorer


def head(
    *, name: str, column: str, reason: str, scorer: Scorer, above: float | None = None, below: float | None = None
) -> Filter:
    """Make a filter of any scorer: writes `column`, drops with `reason` above or below a limit, keeps without limits."""

    def score(table: pa.Table) -> pa.Table:
        return pa.table({column: pa.array(scorer(vectors(table, "image_emb")), type=pa.float32(), from_pandas=True)})

    def decide(table: pa.Table) -> pa.Array:
        value = numbers(table, column)
        if above is None and below is None:
            return first_reason(len(table), [])
        bad = np.zeros(len(table), np.bool_)
        if above is not None:
            bad |= value > np.float32(above)
        if below is not None:
            bad |= value < np.float32(below)
        return first_reason(len(table), [(~np.isfinite(value), f"{name}_missing"), (bad, reason)])

    return Filter(name, ("image_emb",), (f"{name}_missing", reason), score, decide)


def nsfw(*, scorer: Scorer, max_prob: float | None = 0.5) -> Filter:
    """Drop pictures that are unsafe with a probability above `max_prob`; None keeps the score only."""
    return head(name="nsfw", column="nsfw_prob", reason="nsfw", scorer=scorer, above=max_prob)


def watermark(*, scorer: Scorer, max_prob: float | None = None) -> Filter:
    """Drop pictures that carry a watermark with a probability above `max_prob`; None keeps the score only."""
    return head(name="watermark", column="watermark_prob", reason="watermark", scorer=scorer, above=max_prob)


def aesthetic(*, scorer: Scorer, min_score: float | None = None) -> Filter:
    """Drop pictures rated below `min_score` for looks (LAION's heads: 1 to 10); None keeps the score only."""
    return head(name="aesthetic", column="aesthetic_score", reason="aesthetic_low", scorer=scorer, below=min_score)
