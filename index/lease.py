"""An opened index that several threads use, and that is closed when the last of them is done with it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from index.chosen import Chosen
from index.conditions import Condition
from index.distinct import Groups
from index.encoder import Encoder
from index.opened import Opened

_FILTERS: Final = 4
"""Answers of `matching` that are remembered: of ten million rows each is up to 80 MB, and FAISS's set of half of them 500 MB."""


class Lent:
    """One opened index with the model of its vectors and what is derived from it; its snapshot never changes, so neither do they."""

    def __init__(self, opened: Opened, encoder: Encoder) -> None:
        self.opened, self.encoder = opened, encoder
        self.users = 0
        self.retired = False
        self._lock = threading.Lock()
        self._matching: OrderedDict[tuple[Condition, ...], Chosen] = OrderedDict()

    @cached_property
    def groups(self) -> Groups:
        """Return the groups of copies."""
        return Groups(self.opened)

    def matching(self, where: tuple[Condition, ...]) -> Chosen | None:
        """Return the ids of the rows that satisfy all conditions, None where there are no conditions."""
        if not where:
            return None
        with self._lock:
            if where in self._matching:
                self._matching.move_to_end(where)
                return self._matching[where]
        found = self.opened.chosen(self.opened.matching(where))
        with self._lock:
            self._matching[where] = found
            while len(self._matching) > _FILTERS:
                self._matching.popitem(last=False)
        return found


class Lease:
    """The newest opened index: whoever searches holds the one that was newest when the search began."""

    def __init__(self, first: Lent) -> None:
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._newest = first

    @property
    def newest(self) -> Lent:
        """Return the newest index; to use it while others may replace it, take `use`."""
        return self._newest

    @contextmanager
    def use(self) -> Iterator[Lent]:
        """Lend the newest index; it stays open until the end of the block, whatever happens meanwhile."""
        with self._lock:
            lent = self._newest
            lent.users += 1
        try:
            yield lent
        finally:
            with self._lock:
                lent.users -= 1
                last = lent.retired and lent.users == 0
            if last:
                lent.opened.close()

    def replace(self, newer: Callable[[Lent], Lent | None]) -> bool:
        """Put in what `newer` makes of the newest index, if anything; one thread at a time, the others wait."""
        with self._changing:
            lent = newer(self._newest)
            if lent is None:
                return False
            with self._lock:
                old, self._newest = self._newest, lent
                old.retired = True
                idle = old.users == 0
        if idle:
            old.opened.close()
        return True

    def close(self) -> None:
        """Close the newest index when its last user is done."""
        with self._lock:
            self._newest.retired = True
            idle = self._newest.users == 0
        if idle:
            self._newest.opened.close()
