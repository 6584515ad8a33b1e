"""The tasks of `--bench`: hash and embed the sample, alter its pictures, and tell how far each is from every picture of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters import perceptual
from pipeline.clip_spec import ModelSpec
from pipeline.copies import CopyOptions, verify
from pipeline.copies_rows import Pictures
from pipeline.dedup.transforms import TRANSFORMS, Picture, scaled

A_TASK = 8
"""Pictures of the sample that a task takes on."""


@dataclass(frozen=True)
class Seen:
    """The hashes and vectors of some pictures, row-aligned."""

    phash: NDArray[np.uint8]
    pdq: NDArray[np.uint8]
    quality: NDArray[np.int64]
    emb: NDArray[np.float32]

    @classmethod
    def of(cls, pictures: Sequence[Picture], spec: ModelSpec) -> "Seen":
        """Hash and embed pictures as the ingest does."""
        from pipeline import clip_model  # loads torch

        model = clip_model.load(spec)
        pdq = [perceptual.pdq256(_at_least(picture, perceptual.MIN_SIDE_PX)) for picture in pictures]
        phash = [perceptual.phash64(perceptual.gray(picture)) for picture in pictures]
        return cls(
            np.frombuffer(b"".join(phash), np.uint8).reshape(-1, 8),
            np.frombuffer(b"".join(code for code, _ in pdq), np.uint8).reshape(-1, 32),
            np.array([quality for _, quality in pdq], np.int64),
            model.images(np.stack([model.prepare(picture) for picture in pictures])).astype(np.float32),
        )


def _at_least(picture: Picture, side_px: int) -> Picture:
    factor = side_px / min(picture.shape[:2])
    return scaled(picture, factor) if factor > 1 else picture


def see(pictures: Pictures, rows: NDArray[np.int64], spec: ModelSpec) -> Seen:
    """Hash and embed some of the sample's pictures."""
    with pictures.opened() as load:
        return Seen.of([load(int(row)) for row in rows], spec)


def joined(parts: Sequence[Seen]) -> Seen:
    """Put several together."""
    return Seen(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("phash", "pdq", "quality", "emb"))
    )


@dataclass(frozen=True)
class Distances:
    """How far some pictures are from every picture of the sample, [A,B] each."""

    phash: NDArray[np.int64]
    pdq: NDArray[np.int64]
    cos: NDArray[np.float32]

    @classmethod
    def between(cls, one: Seen, two: Seen, options: CopyOptions) -> "Distances":
        """Compare all with all; a PDQ of poor quality is 256 bits away."""
        good = (one.quality[:, None] >= options.pdq_min_quality) & (two.quality[None] >= options.pdq_min_quality)
        bits = [
            np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2, dtype=np.int64)
            for a, b in ((one.phash, two.phash), (one.pdq, two.pdq))
        ]
        return cls(bits[0], np.where(good, bits[1], 256), one.emb @ two.emb.T)

    def proposed(self, options: CopyOptions) -> NDArray[np.bool_]:
        """Tell which pairs any means proposes."""
        near = (self.phash <= options.phash_bits) | (self.pdq <= options.pdq_bits)
        return np.asarray(near | (self.cos >= options.emb_cos), np.bool_)


def _verified(
    pictures: Sequence[Picture], load: Any, rows: NDArray[np.int64], near: NDArray[np.bool_], options: CopyOptions
) -> NDArray[np.bool_]:
    """Compare pixels of the pictures with those of the sample that are proposed."""
    first = len(rows)
    one, two = np.nonzero(near)
    pairs = np.stack([two, one + first], axis=1)

    def picture(at: int) -> Picture:
        return pictures[at - first] if at >= first else load(int(rows[at]))

    out = np.zeros(near.shape, np.bool_)
    out[one, two] = verify(pairs, picture, options) >= options.min_agreement
    return out


def alike(
    pictures: Pictures, rows: NDArray[np.int64], piece: NDArray[np.int64], originals: Seen, options: CopyOptions
) -> NDArray[np.bool_]:
    """Tell which of the sample's pictures show the same as some of them, bool[A,B]."""
    at = np.searchsorted(rows, piece)
    mine = Seen(*(getattr(originals, name)[at] for name in ("phash", "pdq", "quality", "emb")))
    near = Distances.between(mine, originals, options).proposed(options)
    with pictures.opened() as load:
        return _verified([load(int(row)) for row in piece], load, rows, near, options)


def same_pictures(parts: Sequence[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    """Tell which pictures of the sample show the same, bool[N,N]."""
    same = np.concatenate(parts)
    return np.asarray(same | same.T | np.eye(count, dtype=np.bool_), np.bool_)


@dataclass(frozen=True)
class Answer:
    """Of one altered picture: its transform, its original's place in the sample, and what is near it there."""

    transform: str
    origin: int
    phash: NDArray[np.int64]
    pdq: NDArray[np.int64]
    cos: NDArray[np.float32]
    verified: NDArray[np.bool_]


def ask(
    pictures: Pictures,
    rows: NDArray[np.int64],
    piece: NDArray[np.int64],
    originals: Seen,
    options: CopyOptions,
    spec: ModelSpec,
) -> list[Answer]:
    """Alter some pictures in every way, and look for them in the sample."""
    altered, asked = [], []
    with pictures.opened() as load:
        for row in piece.tolist():
            rng = np.random.default_rng(row)
            picture = load(row)
            altered += [transform(picture, rng) for transform in TRANSFORMS.values()]
            asked += [(name, int(np.searchsorted(rows, row))) for name in TRANSFORMS]
        far = Distances.between(Seen.of(altered, spec), originals, options)
        sure = _verified(altered, load, rows, far.proposed(options), options)
    return [Answer(*asked[n], far.phash[n], far.pdq[n], far.cos[n], sure[n]) for n in range(len(asked))]
