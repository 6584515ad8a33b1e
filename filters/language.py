"""Say which language a text is in, by py3langid: naive Bayes over byte n-grams, its model comes with the package."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
from py3langid import langid

from filters.base import Filter, first_reason, numbers


@cache
def _identifier() -> "langid.LanguageIdentifier":
    # an own instance, since the package's global one can be restricted by anybody; probabilities, not raw scores
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def languages() -> frozenset[str]:
    """List the ISO 639-1 codes that can be told apart."""
    return frozenset(_identifier().labels)


def identify(text: str) -> tuple[str, float]:
    """Give the likeliest language's ISO 639-1 code and its probability; ("und", 0.0) for a text without letters."""
    if not any(char.isalpha() for char in text):
        return "und", 0.0
    code, prob = _identifier().classify(text)
    return str(code), float(prob)


def _identify_all(table: pa.Table) -> pa.Table:
    found = [(None, None) if text is None else identify(text) for text in table["text"].to_pylist()]
    return pa.table(
        {
            "language": pa.array([code for code, _ in found], type=pa.string()),
            "language_prob": pa.array([prob for _, prob in found], type=pa.float32()),
        }
    )


def language(*, keep: Sequence[str] | None = None, min_prob: float = 0.5) -> Filter:
    """Drop texts surely (probability at least `min_prob`) in none of the languages `keep`; None keeps all.

    Short captions and names are often undecided; they are kept, since a wrong guess would remove rare languages first.
    """
    unknown = sorted(set(keep or ()) - languages())
    if unknown:
        raise ValueError(f"no such language: {', '.join(unknown)}; known: {', '.join(sorted(languages()))}")

    def decide(table: pa.Table) -> pa.Array:
        prob = numbers(table, "language_prob")
        if keep is None:
            return first_reason(len(table), [])
        other = ~np.isin(np.asarray(table["language"].to_pylist(), dtype=object), list(keep))
        sure = prob >= np.float32(min_prob)
        return first_reason(len(table), [(np.isnan(prob), "language_missing"), (other & sure, "language_other")])

    return Filter("language", ("text",), ("language_missing", "language_other"), _identify_all, decide)
