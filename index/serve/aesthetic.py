"""clip-retrieval's `aesthetic_score`: a question is moved towards pictures that were rated so.

There the directions are LAION's, means of the embeddings of rated pictures (github.com/LAION-AI/aesthetic-predictor), for one model
only. Here they are means of the data set's own pictures, by the score that the head of its run gave them.
"""

from threading import Lock
from typing import Final

from index.conditions import Condition
from index.opened import Ids
from index.query import Term
from index.serve.catalogue import Served

COLUMN: Final = "aesthetic_score"
_MOST: Final = 1_000
"""Pictures that a mean is taken of: more change it by less than a thousandth."""
_KEPT: Final = 64


class Tastes:
    """Which pictures have which score, looked up once a snapshot; whoever is hidden since then is in no mean."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[str, int, int], Ids] = {}

    def towards(self, served: Served, score: int, weight: float) -> Term | None:
        """Return the term to add to a question; None where the data set has no pictures of that score."""
        with served.searcher.using() as opened:
            if COLUMN not in opened.columns:
                return None
            key = (served.name, opened.snapshot.number, score)
            with self._lock:
                ids = self._known.get(key)
            if ids is None:
                ids = opened.matching([Condition(COLUMN, ">=", score - 0.5), Condition(COLUMN, "<", score + 0.5)])
                ids = ids[:: max(1, -(-len(ids) // _MOST))]  # ids are hashes, so every n-th of them is a fair sample
                with self._lock:
                    self._known[key] = ids
                    while len(self._known) > _KEPT:
                        self._known.pop(next(iter(self._known)))
            there = served.searcher.shown(ids[opened.having(ids)])
            if not len(there):
                return None
            mean = opened.vectors(there).mean(axis=0)
        return Term(embedding=tuple((mean / max(1e-6, float((mean @ mean) ** 0.5))).tolist()), weight=weight)
