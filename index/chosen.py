"""Ids that a search is limited to, with FAISS's set of them: made once, and used by all searches with the same conditions."""

from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Chosen:
    """Some of a snapshot's ids, sorted.

    FAISS keeps a set of a hundred bytes an id, so where most are chosen the set of the others is made.
    """

    def __init__(self, ids: Ids, every: Ids) -> None:
        self.ids, self._every = ids, every

    def __len__(self) -> int:
        """Return how many are chosen."""
        return len(self.ids)

    @cached_property
    def selector(self) -> Any:
        """Return what FAISS asks of each id whether it is chosen; ids that the snapshot does not hold may be let through."""
        if 2 * len(self.ids) <= len(self._every):
            return faiss.IDSelectorBatch(self.ids)
        others = np.ones(len(self._every), np.bool_)
        others[np.searchsorted(self._every, self.ids)] = False
        return faiss.IDSelectorNot(faiss.IDSelectorBatch(self._every[others]))
