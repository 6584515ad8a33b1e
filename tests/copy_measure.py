"""Run copy detection over pictures with a known truth, and count what it found.

Truth: two pictures are copies when they come from one original by planted transforms, or when their originals really show the
same: mean absolute difference of at most 0.25 levels of 255 at 128 × 128 px (`planted.really_identical`; OpenMoji ships many
drawings under several names), closed under transitivity. Nothing else counts, not even a drawing moved or scaled as a whole or
redrawn by less than a pixel, though a person would call those copies too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from filters.perceptual import gray, pdq256, phash64
from pipeline.clip_model import load
from pipeline.clip_spec import ModelSpec
from pipeline.copies import Copies, CopyFeatures
from tests.planted import Picture, Planted


def embed(pictures: Sequence[Picture]) -> NDArray[np.float16]:
    """Embed pictures with the bundled CLIP, f16[N,256]."""
    model = load(ModelSpec())
    side = model.size_px
    threads = torch.get_num_threads()
    # measured on two busy cores: one thread embeds 23 pictures a second, two wait for each other at 7
    torch.set_num_threads(1)
    try:
        batches = (pictures[start : start + 32] for start in range(0, len(pictures), 32))
        return np.concatenate([model.images(np.stack([_fit(p, side) for p in batch])) for batch in batches])
    finally:
        torch.set_num_threads(threads)


def _fit(picture: Picture, side: int) -> Picture:
    way = cv2.INTER_AREA if max(picture.shape) > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=way), np.uint8)


def features(pictures: Sequence[Picture], emb: NDArray[np.float16] | None = None) -> CopyFeatures:
    """Hash pictures as the decoder does; without embeddings only hashes propose. The uid is the row."""
    rows = len(pictures)
    pdq = [pdq256(p) for p in pictures]
    # stands for the digest of the downloaded bytes
    sha = [hashlib.sha256(str(p.shape).encode() + p.tobytes()).digest() for p in pictures]
    return CopyFeatures(
        uid=np.frombuffer(b"".join(row.to_bytes(16, "big") for row in range(rows)), np.uint8).reshape(rows, 16),
        sha256=np.frombuffer(b"".join(sha), np.uint8).reshape(rows, 32),
        phash=np.frombuffer(b"".join(phash64(gray(p)) for p in pictures), np.uint8).reshape(rows, 8),
        pdq=np.frombuffer(b"".join(code for code, _ in pdq), np.uint8).reshape(rows, 32),
        pdq_quality=np.asarray([quality for _, quality in pdq], np.int16),
        emb=np.full((rows, 2), np.nan, np.float16) if emb is None else emb,
    )


def truth(planted: Planted, same: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Give every picture the number of its class of copies."""
    root = np.arange(len(planted.pictures))
    for one, two in same:
        root[root == root[two]] = root[one]
    return np.asarray(root[planted.origin], np.int64)


@dataclass(frozen=True)
class Counts:
    """Recall and precision over pairs in a common group, and the share of each transform's copies grouped as they should."""

    recall: float
    precision: float
    by_how: dict[str, float]
    pairs: int

    def show(self, title: str) -> None:
        """Print a line for people."""
        each = ", ".join(f"{how} {share:.3f}" for how, share in self.by_how.items())
        print(
            f"\n{title}: recall {self.recall:.4f}, precision {self.precision:.4f} over {self.pairs} true pairs; {each}"
        )


def _same(label: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((label[:, None] == label[None, :]) & (label >= 0)[:, None], np.bool_)


def count(found: Copies, planted: Planted, same: Sequence[tuple[int, int]]) -> Counts:
    """Compare groups with the truth."""
    upper = np.triu(np.ones((len(planted.pictures),) * 2, np.bool_), 1)
    true, got = _same(truth(planted, same)) & upper, _same(found.group) & upper
    how = np.asarray(planted.how)
    group = found.group
    by_how = {
        name: float(np.mean((group[how == name] >= 0) & (group[how == name] == group[planted.origin[how == name]])))
        for name in dict.fromkeys(planted.how)
        if name
    }
    both = int((true & got).sum())
    return Counts(both / int(true.sum()), both / max(1, int(got.sum())), by_how, int(true.sum()))
