"""The vector of what is asked: texts and pictures through CLIP, stored vectors by URL or uid, added up."""

from collections.abc import Mapping, Sequence

import numpy as np

from filters.urls import canonical_url
from index.conditions import Condition
from index.encoder import Encoder
from index.hidden import Hidden
from index.opened import F32, Ids, Opened
from index.query import Term
from pipeline.errors import InputError
from pipeline.ids import faiss_id


def vectors(opened: Opened, encoder: Encoder, hidden: Hidden, many: Sequence[Sequence[Term]]) -> F32:
    """Return the sum of each list of terms, f32[N,D] of unit norm; all their texts go through the model together.

    InputError names a term that means nothing here: no picture of that URL or uid (a hidden one is as unknown as none),
    an embedding of another length, a sum of zero.
    """
    texts = list(dict.fromkeys(term.text for terms in many for term in terms if term.text is not None))
    known = dict(zip(texts, encoder.texts(texts), strict=True)) if texts else {}
    sums = np.zeros((len(many), opened.record.dimensions), np.float32)
    for total, terms in zip(sums, many, strict=True):
        if not terms:
            raise InputError("nothing is asked for; give a text, picture, URL, uid or embedding")
        for term in terms:
            total += np.float32(term.weight) * _vector(opened, encoder, hidden, term, known)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise InputError("a term of the query is not finite; give other weights or another embedding")
    if (norms < 1e-6).any():
        raise InputError("the terms of the query cancel out; give other weights")
    units: F32 = sums / norms
    return units


def _vector(opened: Opened, encoder: Encoder, hidden: Hidden, term: Term, known: Mapping[str, F32]) -> F32:
    if term.text is not None:
        return known[term.text]
    if term.picture is not None:
        return encoder.picture(term.picture)
    if term.url is not None:
        return _stored(opened, hidden, _of_url(opened, term.url), f"the URL {term.url}")
    if term.uid is not None:
        return _stored(opened, hidden, _of_uid(opened, term.uid), f"the uid {term.uid}")
    if term.embedding is None:
        raise InputError("a term of the query is empty; give text, picture, url, uid or embedding")
    with np.errstate(over="ignore"):  # infinities are told of later, with the sum of the terms
        vector = np.asarray(term.embedding, np.float32)
    if vector.shape != (opened.record.dimensions,):
        raise InputError(
            f"the embedding has {vector.size} numbers; those of this data set have {opened.record.dimensions}"
        )
    return vector


def _of_url(opened: Opened, url: str) -> Ids:
    return opened.matching([Condition("url", "=", canonical_url(url) or "")])


def _of_uid(opened: Opened, uid: str) -> Ids:
    try:
        key = bytes.fromhex(uid)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise InputError(f"{uid!r} is no uid: 32 hex digits")
    ids = np.array([faiss_id(key)], np.int64)
    there = opened.having(ids).all() and opened.facts(ids, ["key"])["key"][0].as_py() == key.hex()
    return ids if there else ids[:0]


def _stored(opened: Opened, hidden: Hidden, ids: Ids, named: str) -> F32:
    """Return the vector of the first row that is meant and not hidden."""
    there = ids[~hidden.among(ids)]
    if not len(there):
        raise InputError(f"no picture of this data set (snapshot {opened.snapshot.folder}) has {named}")
    vector: F32 = opened.vectors(there[:1])[0]
    return vector
