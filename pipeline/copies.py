"""Find copies among pictures: hashes and embeddings propose pairs, pixels verify them, stars make groups."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from filters.alignment import Thumbnail, thumbnail
from filters.copies import groups
from filters.pixels import agreement
from pipeline.near.plan import Plan
from pipeline.near.search import NearOptions, Pairs, near_pairs
from pipeline.near.source import Held, Source, Spread, here
from pipeline.near.spill import Spill, spilled_locally
from pipeline.neighbours import hamming_pairs, linked

Load = Callable[[int], NDArray[np.uint8] | None]
Check = Callable[[Pairs], NDArray[np.float32]]
HOW = ("sha256", "phash64", "pdq256", "embedding", "neighbour")


@dataclass(frozen=True)
class CopyFeatures:
    """What is known of each picture, row-aligned; rows of zeros (hashes) or NaN (embeddings) mean unknown."""

    uid: NDArray[np.uint8]
    """u8[N,16]"""
    sha256: NDArray[np.uint8]
    """u8[N,32]"""
    phash: NDArray[np.uint8]
    """u8[N,8]"""
    pdq: NDArray[np.uint8]
    """u8[N,32]"""
    pdq_quality: NDArray[np.int16]
    """i16[N], 0 to 100"""
    emb: NDArray[np.float16] | Source
    """f16[N,D] unit norm, or where to read them from block by block, numbered by row"""


@dataclass(frozen=True)
class CopyOptions:
    """How far apart proposals may be, and how well pixels must agree; tests/pipeline/test_copies.py measures both."""

    phash_bits: int = 10
    pdq_bits: int = 31
    pdq_min_quality: int = 50
    emb_cos: float = 0.8
    exact_rows: int = 50_000
    target_recall: float = 0.99
    """Share of the embeddings' near pairs to be found."""
    max_per_row: int = 64
    min_agreement: float = 0.995
    """Share of the 256 blocks that agree or are explained: one block may be off."""
    cached: int = 4096
    """Thumbnails held while verifying, about 65 kB each."""
    seed: int = 0


def _how(means: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Name the first of HOW that proposed each pair; `means` has a bit for each that did."""
    lowest = means & (~means + np.uint8(1))
    return np.asarray(HOW)[np.log2(np.maximum(lowest, 1)).astype(np.int64)]


@dataclass(frozen=True)
class Proposals:
    """Pairs i64[M,2] of rows, smaller first, sorted; `means` u8[M] has a bit for each of HOW that proposed the pair."""

    pairs: Pairs
    means: NDArray[np.uint8]
    plan: Plan = field(default_factory=Plan)

    @property
    def how(self) -> NDArray[np.str_]:
        """Name the first of HOW that proposed each."""
        return _how(self.means)


@dataclass(frozen=True)
class Copies:
    """Groups of copies (row of the centre, -1 for none), and every proposed pair with its agreement in [0,1]."""

    group: NDArray[np.int64]
    pairs: Pairs
    means: NDArray[np.uint8]
    score: NDArray[np.float32]
    plan: Plan = field(default_factory=Plan)

    @property
    def how(self) -> NDArray[np.str_]:
        """Name the first of HOW that proposed each pair."""
        return _how(self.means)


def _sha_pairs(sha256: NDArray[np.uint8]) -> Pairs:
    """Pair every row with the first that has the same bytes."""
    known = np.flatnonzero(sha256.any(axis=1))
    packed = np.ascontiguousarray(sha256[known]).view(np.dtype((np.void, sha256.shape[1]))).reshape(-1)
    _, first, value = np.unique(packed, return_index=True, return_inverse=True)
    pairs = np.stack([known[first[value.reshape(-1)]], known], axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]], np.int64)


def propose(
    features: CopyFeatures,
    options: CopyOptions | None = None,
    *,
    spread: Spread = here,
    spill: Spill | None = None,
) -> Proposals:
    """Propose pairs that may be copies. Of pictures with equal bytes only the first is compared with others."""
    options = options or CopyOptions()
    if spill is None:
        with spilled_locally() as local:
            return propose(features, options, spread=spread, spill=local)
    exact = _sha_pairs(features.sha256)
    single = np.ones(len(features.uid), np.bool_)
    single[exact[:, 1]] = False
    hashed = np.flatnonzero(single & features.phash.any(axis=1))
    # PDQ of a nearly flat picture is noise; its authors discard quality below 50 (of 100)
    good = np.flatnonzero(single & (features.pdq_quality >= options.pdq_min_quality) & features.pdq.any(axis=1))
    spill.write("phash", features.phash[hashed])
    spill.write("pdq", features.pdq[good])
    asked = [(spill, "phash", options.phash_bits), (spill, "pdq", options.pdq_bits)]
    by_phash, by_pdq = spread(_hash_pairs, [(*one, options.exact_rows) for one in asked])
    source = Held(features.emb) if isinstance(features.emb, np.ndarray) else features.emb
    near = near_pairs(source, near_options(options), wanted=single, spread=spread, spill=spill.inner("near"))
    found = [exact, hashed[by_phash], good[by_pdq], linked(near)]
    bit = np.repeat(np.uint8(1) << np.arange(len(found), dtype=np.uint8), [len(pairs) for pairs in found])
    pairs, at = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    means = np.zeros(len(pairs), np.uint8)
    np.bitwise_or.at(means, at.reshape(-1), bit)
    return Proposals(pairs, means, near.plan)


def near_options(options: CopyOptions) -> NearOptions:
    """Return what proposals ask of the search for near embeddings."""
    return NearOptions(options.emb_cos, options.target_recall, options.exact_rows, options.max_per_row, options.seed)


def _hash_pairs(spill: Spill, name: str, radius_bits: int, exact_rows: int) -> Pairs:
    return hamming_pairs(np.ascontiguousarray(spill.read(name)), radius_bits, exact_rows=exact_rows)


class _Thumbnails:
    """The least recently used thumbnails, so that each picture is loaded about once for sorted pairs."""

    def __init__(self, load: Load, most: int) -> None:
        self._load, self._most = load, most
        self._held: OrderedDict[int, Thumbnail | None] = OrderedDict()

    def __getitem__(self, row: int) -> Thumbnail | None:
        if row in self._held:
            self._held.move_to_end(row)
            return self._held[row]
        picture = self._load(row)
        made = None if picture is None else thumbnail(picture)
        self._held[row] = made
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return made


def verify(pairs: Pairs, load: Load, options: CopyOptions | None = None) -> NDArray[np.float32]:
    """Compare pictures u8[H,W,3] RGB pair by pair; agreement f32[M] in [0,1], 0 where `load` gives None.

    A pair is verified when its agreement reaches `options.min_agreement`.
    """
    options = options or CopyOptions()
    thumbnails = _Thumbnails(load, max(2, options.cached))
    score = np.zeros(len(pairs), np.float32)
    for at in np.lexsort((pairs[:, 1], pairs[:, 0])).tolist():
        one, two = thumbnails[int(pairs[at, 0])], thumbnails[int(pairs[at, 1])]
        if one is not None and two is not None:
            score[at] = agreement(one, two, enough=options.min_agreement)
    return score


def _two_steps(verified: Pairs, known: Pairs, rows: int, most: int) -> Pairs:
    """Pair rows that were both verified against a third one and not yet compared; at most `most` neighbours each."""
    both = np.concatenate([verified, verified[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    bounds = np.searchsorted(both[:, 0], np.arange(rows + 1))
    keys = []
    for centre in np.flatnonzero(np.diff(bounds) > 1).tolist():
        near = both[bounds[centre] : min(bounds[centre + 1], bounds[centre] + most), 1]
        one, two = np.triu_indices(len(near), 1)
        keys.append(near[one] * rows + near[two])
    if not keys:
        return np.empty((0, 2), np.int64)
    new = np.setdiff1d(np.unique(np.concatenate(keys)), known[:, 0] * rows + known[:, 1])
    return np.stack([new // rows, new % rows], axis=1)


def find(
    features: CopyFeatures, load: Load, options: CopyOptions | None = None, *, rank: NDArray[np.int64] | None = None
) -> Copies:
    """Propose, verify and group in this process; see `settle`."""
    asked = options or CopyOptions()
    return settle(propose(features, asked), lambda pairs: verify(pairs, load, asked), asked, len(features.uid), rank)


def settle(
    proposals: Proposals, check: Check, options: CopyOptions, rows: int, rank: NDArray[np.int64] | None = None
) -> Copies:
    """Verify proposals by `check` and group. Pairs found through a common copy are verified too, so that groups come out whole.

    `rank` (filters.copies.policy_rank) breaks ties between centres. Equal bytes need no pixels.
    """
    pairs, means = proposals.pairs, proposals.means
    exact = (means & 1) > 0
    score = np.ones(len(pairs), np.float32)
    score[~exact] = check(pairs[~exact])
    sure = pairs[(score >= options.min_agreement) & ~exact]
    more = _two_steps(sure, pairs, rows, options.max_per_row)
    if len(more):
        bit = np.uint8(1 << HOW.index("neighbour"))
        pairs, means = np.concatenate([pairs, more]), np.concatenate([means, np.full(len(more), bit)])
        score = np.concatenate([score, check(more)])
        exact = (means & 1) > 0
    sure = pairs[(score >= options.min_agreement) & ~exact]
    return Copies(groups(rows, sure, exact=pairs[exact], rank=rank), pairs, means, score, proposals.plan)
