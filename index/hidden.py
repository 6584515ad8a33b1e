"""Who must not be shown now, as uids and as the index's ids."""

import threading

import numpy as np
from numpy.typing import NDArray

from index.opened import Ids
from pipeline.ids import faiss_id
from pipeline.store import Store
from pipeline.tombstones import Watch


class Hidden:
    """The tombstones as searches see them: never older than a quarter of a second when asked. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._watch = Watch(store)
        self._lock = threading.Lock()
        self._uids: frozenset[bytes] = frozenset()
        self._ids: Ids = np.zeros(0, np.int64)

    def uids(self) -> frozenset[bytes]:
        """Return the uids that must not be shown."""
        return self._now()[0]

    def among(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell of each id whether it is hidden, bool[N]."""
        hidden = self._now()[1]
        if not len(hidden):
            return np.zeros(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(hidden, ids), len(hidden) - 1)
        return np.asarray(hidden[at] == ids)

    def _now(self) -> tuple[frozenset[bytes], Ids]:
        with self._lock:
            uids = self._watch.hidden()
            if uids is not self._uids:
                self._ids = np.sort(np.array([faiss_id(uid) for uid in uids], np.int64))
                self._uids = uids
            return self._uids, self._ids
