"""What is asked for: a sum of weighted terms, as vectors of CLIP add up (Ramesh et al. 2022, arXiv 2204.06125, section 3)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from index.conditions import Condition

Modality = Literal["image", "text"]
"""Which vectors are searched: those of the pictures or those of their texts."""


@dataclass(frozen=True)
class Term:
    """One summand; exactly one of its values is given. A negative weight takes away."""

    text: str | None = None
    picture: bytes | Path | None = None
    """An encoded picture, or the file that holds it."""
    url: str | None = None
    uid: str | None = None
    embedding: tuple[float, ...] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Query:
    """Terms, what to search, and what an answer must satisfy."""

    terms: tuple[Term, ...]
    k: int = 10
    modality: Modality = "image"
    where: tuple[Condition, ...] = field(default=())
    least_cos: float | None = None
    """Everything at or above this cosine, at most `k`."""
    deduplicate: bool = False
    """Of each group of copies only the nearest; the answer is filled up to `k`."""
    offset: int = 0
    """How many of the nearest are left out, for the next page of an answer."""


def worded(terms: tuple[Term, ...]) -> str:
    """Return a sum of terms as people would write it; texts are quoted where there are other terms."""
    if len(terms) == 1 and terms[0].text is not None and terms[0].weight == 1:
        return terms[0].text
    said = ""
    for term in terms:
        sign = ("− " if term.weight < 0 else "+ ") if said else ("−" if term.weight < 0 else "")
        size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g}\u00a0×\u00a0"
        said += f"{' ' if said else ''}{sign}{size}{_named(term)}"
    return said


def _named(term: Term) -> str:
    if isinstance(term.picture, Path):
        return term.picture.name
    if term.picture is not None:
        return "a picture"
    return f"“{term.text}”" if term.text is not None else term.url or term.uid or "an embedding"
