"""An opened index that several threads use, and that is closed when the last of them is done with it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from index.conditions import Condition
from index.distinct import Groups
from index.opened import Ids, Opened

_FILTERS: Final = 4
"""Answers of `matching` that are remembered: of ten million rows each is up to 80 MB."""


class Lent:
    """One opened index with what is derived from it; its snapshot never changes, so neither does that."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.users = 0
        self.retired = False
        self._lock = threading.Lock()
        self._matching: OrderedDict[tuple[Condition, ...], Ids] = OrderedDict()

    @cached_property
    def groups(self) -> Groups:
        """Return the groups of copies."""
        return Groups(self.opened)

    def matching(self, where: tuple[Condition, ...]) -> Ids | None:
        """Return the sorted ids of the rows that satisfy all conditions, None where there are no conditions."""
        if not where:
            return None
        with self._lock:
            if where in self._matching:
                self._matching.move_to_end(where)
                return self._matching[where]
        ids = self.opened.matching(where)
        with self._lock:
            self._matching[where] = ids
            while len(self._matching) > _FILTERS:
                self._matching.popitem(last=False)
        return ids


class Lease:
    """The newest opened index: whoever searches holds the one that was newest when the search began."""

    def __init__(self, opened: Opened) -> None:
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._newest = Lent(opened)

    @property
    def newest(self) -> Opened:
        """Return the newest index; to use it while others may replace it, take `use`."""
        return self._newest.opened

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

    def replace(self, newer: Callable[[Opened], Opened | None]) -> bool:
        """Put in what `newer` makes of the newest index, if anything; one thread at a time, the others wait."""
        with self._changing:
            opened = newer(self.newest)
            if opened is None:
                return False
            with self._lock:
                old, self._newest = self._newest, Lent(opened)
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
