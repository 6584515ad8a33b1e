"""Words that tamis itself writes into records, cards and tables: where no row owns them they are no trace of anybody.

A picture of the sign ® has the text "registered", and so has a column of the registry. What stands in tamis' own files is
told from what a person's row left behind by looking at those files, not by a list that would age.
"""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAMES = frozenset({"text", "creator", "copyright"})
_READ = (".py", ".html", ".css")


@cache
def _own() -> bytes:
    return b"\n".join(_read(files("pipeline")))


def _read(folder: Traversable) -> list[bytes]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            found += _read(entry)
        elif entry.name.endswith(_READ):
            found.append(entry.read_bytes())
    return found


def is_own(value: bytes, kinds: set[str]) -> bool:
    """Tell whether a text or a name, and nothing more telling, is among tamis' own words."""
    return kinds <= _NAMES and value in _own()
