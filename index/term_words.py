"""Terms as the command line and lists of queries write them: a kind, a value, and a weight before it where it is not 1."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from index.query import Term
from pipeline.errors import InputError

KINDS: Final = ("text", "image", "url", "uid", "embedding")
PLUS, MINUS = 2.0, -0.5
"""Weights of a text that is added to a picture or taken from it, measured on the demo's data set (`DECISIONS.md`)."""

_WEIGHTED: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\*(.*)", re.DOTALL)


def term(kind: str, written: str) -> Term:
    """Read `VALUE` or `WEIGHT*VALUE` of a kind; a text that itself begins with a number and a star needs `1*` before it.

    `plus` and `minus` are texts with the weights PLUS and MINUS. InputError when a file cannot be read.
    """
    found = _WEIGHTED.fullmatch(written)
    weight, value = (float(found[1]), found[2].strip()) if found else (1.0, written)
    if kind in ("plus", "minus"):
        usual = PLUS if kind == "plus" else MINUS
        return Term(text=value, weight=math.copysign(weight, usual) if found else usual)
    return valued(kind, value, weight)


def valued(kind: str, value: Any, weight: float = 1.0) -> Term:
    """Return the term of a kind; a picture or an embedding is a file's name, an embedding may be its numbers as well."""
    if kind == "embedding":
        if isinstance(value, str):
            return Term(embedding=read_embedding(Path(value)), weight=weight)
        if not isinstance(value, Sequence):
            raise InputError(f"embedding is {value!r}; it is a list of numbers or the name of a .npy file")
        return Term(embedding=tuple(number("a number of the embedding", one) for one in value), weight=weight)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{kind} is empty" if value in ("", None) else f"{kind} is {value!r}, which is no text")
    if kind == "image":
        if not Path(value).is_file():
            raise InputError(f"{value}: no such file")
        return Term(picture=Path(value), weight=weight)
    given: dict[str, Any] = {kind: value}
    return Term(weight=weight, **given)


def read_embedding(path: Path) -> tuple[float, ...]:
    """Read one vector from a NumPy file, f16/f32/f64[D] or [1,D]."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a NumPy array that can be read ({error})") from error
    if array.size == 0 or array.size != array.shape[-1]:
        raise InputError(f"{path}: {list(array.shape)} is not one vector; many go into --queries FILE.npy")
    return tuple(array.reshape(-1).astype(float).tolist())


def from_row(row: Mapping[str, Any]) -> list[Term]:
    """Return the terms of a row with columns named as the kinds, `weight` for all of them; empty ones are none."""
    weight = 1.0 if row.get("weight") in (None, "") else number("weight", row["weight"])
    return [valued(kind, row[kind], weight) for kind in KINDS if row.get(kind) not in (None, "")]


def number(name: str, value: Any) -> float:
    """Return a value as a finite number; InputError says which it should have been."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise InputError(f"{name} is {value!r}, which is no number")
    return found
