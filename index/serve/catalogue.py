"""The data sets that a server answers for, by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from index.search import Searcher
from pipeline.errors import InputError, TamisError
from pipeline.exposure import Checkpoints
from pipeline.store import Store

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class UnknownDataset(TamisError):
    """No data set of this name is served here."""


@dataclass(frozen=True)
class Served:
    """One data set, opened."""

    name: str
    store: Store
    searcher: Searcher
    checkpoints: Checkpoints | None = None
    """Which trained models saw a sample; the command line knows, this package does not."""

    def hidden(self) -> frozenset[bytes]:
        """Return the uids that must not be shown now, as its searches see them."""
        return self.searcher.hidden()


class Catalogue:
    """Name → data set. A client chooses among these names and cannot say a path."""

    def __init__(self, served: Sequence[Served]) -> None:
        self._served: dict[str, Served] = {}
        for one in served:
            if one.name in self._served:
                raise InputError(f"two data sets are called {one.name!r}; name them: NAME=PATH")
            self._served[one.name] = one

    @classmethod
    def open(cls, datasets: Sequence[str], device: str = "auto", checkpoints: Checkpoints | None = None) -> "Catalogue":
        """Open data sets given as PATH or NAME=PATH; InputError where one has no index."""
        named = [named_path(dataset) for dataset in datasets]
        stores = [(name, Store.open_url(path)) for name, path in named]
        return cls([Served(name, store, Searcher(store, device), checkpoints) for name, store in stores])

    @property
    def names(self) -> list[str]:
        """Return the names in the order they were given."""
        return list(self._served)

    def get(self, name: str) -> Served:
        """Return a data set; UnknownDataset where there is none of that name."""
        found = self._served.get(name)
        if found is None:
            raise UnknownDataset(f"no data set {name[:64]!r} here; there are {', '.join(self._served)}")
        return found

    def first(self) -> Served:
        """Return the data set that was named first."""
        return next(iter(self._served.values()))

    def all(self) -> list[Served]:
        """Return every data set, in the order given."""
        return list(self._served.values())

    def close(self) -> None:
        """Give back what the data sets hold."""
        for one in self._served.values():
            one.searcher.close()


def named_path(dataset: str) -> tuple[str, str]:
    """Return (name, path) of PATH or NAME=PATH; InputError where the name cannot stand in an address."""
    name, eq, path = dataset.partition("=")
    if not eq or "/" in name:
        path = dataset
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rstrip("/").rsplit("/", 1)[-1]).strip("-._")
    if not _NAME.fullmatch(name):
        raise InputError(f"{dataset!r}: a data set's name is letters, digits, '.', '_' and '-'; give NAME=PATH")
    return name, path
