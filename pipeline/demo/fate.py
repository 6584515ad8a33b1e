"""What is known beforehand about every picture of the little web."""

from dataclasses import dataclass, replace

ABSENT = "(absent)"
"""Stands for an outcome where the run has no row at all, as for a tag that is no candidate."""
JUDGED: frozenset[str | None] = frozenset({None, "clip_low", "duplicate_of"})
"""Fetched and decoded for certain; keeping it is up to CLIP and copy detection, which are measured, not certain."""

REMOVED: frozenset[str | None] = frozenset({"opted_out_request"})


@dataclass(frozen=True)
class Fate:
    """One picture beside one text, and what has to become of it."""

    url: str  # canonical
    text: str
    kind: str
    expected: frozenset[str | None]  # None = kept
    pages: tuple[str, ...] = ()
    copy_of: str | None = None
    """URL of the picture that this one was made from."""
    max_requests: int | None = None
    """How often a run may ask the origin for it; no bound where a failure may be tried again."""
    leaves: bool = False
    """Whether somebody asks for its removal after the first ingest, by host, URL or picture."""

    def after_removal(self) -> "Fate":
        """Return what has to become of it once the requests are carried out: what left is gone and is not asked for."""
        return replace(self, expected=REMOVED, max_requests=0) if self.leaves else self

    @property
    def certain(self) -> bool:
        """Tell whether only one outcome is right."""
        return len(self.expected) == 1

    @property
    def root(self) -> str:
        """Name the group of copies it belongs to."""
        return self.copy_of or self.url
