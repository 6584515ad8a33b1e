"""What would one write to get this picture: the nearest captions, and phrases of its neighbours' captions ranked by CLIP.

The idea of the "CLIP interrogator" (pharmapsychotic, 2022), with the data set's own captions in place of fixed word lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from index.opened import F32
from index.phrases import adds, phrases
from index.query import Query

if TYPE_CHECKING:
    from index.search import Searcher

_NEIGHBOURS: Final = 64
"""Captions that phrases are taken from: of so many nearest pictures, and so many nearest texts."""
_PHRASES: Final = 160
_ROUNDS: Final = 4
_TRIED: Final = 16
_LIKE_FRAC: Final = 0.6
"""Share of the best phrase's cosine that a phrase must have itself to go into the prompt: others raise it by accident."""
_GAIN_COS: Final = 0.002
"""What a phrase must add to the prompt's cosine to be appended."""


@dataclass(frozen=True)
class Said:
    """A text and its cosine to what was asked."""

    text: str
    cos: float


@dataclass(frozen=True)
class Interrogation:
    """Captions and phrases, the best first, and the prompt made of them."""

    captions: list[Said]
    phrases: list[Said]
    prompt: Said

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, in the words of the HTTP API."""
        return {
            "captions": [{"caption": one.text, "cos": round(one.cos, 4)} for one in self.captions],
            "phrases": [{"phrase": one.text, "score": round(one.cos, 4)} for one in self.phrases],
            "prompt": self.prompt.text,
            "prompt_cos": round(self.prompt.cos, 4),
        }


def interrogate(searcher: "Searcher", query: Query) -> Interrogation:
    """Say what a query's picture looks like to CLIP: at most `query.k` captions and as many phrases.

    Captions are the data set's texts nearest to it; phrases are n-grams of those and of the nearest pictures' captions. The
    prompt begins with the best caption or phrase and takes in, one by one, what raises its cosine most. Conditions of the
    query hold for both; hidden samples' texts are not read.
    """
    vector = searcher.vector(query.terms)
    like = replace(query, k=max(query.k, _NEIGHBOURS), offset=0, least_cos=None, modality="image")
    nearest, alike = searcher.search_vectors([replace(like, modality="text"), like], np.stack([vector] * 2))
    captions = list({hit.caption.casefold(): Said(hit.caption, hit.cos) for hit in reversed(nearest)}.values())[::-1]
    words = phrases([hit.caption for hit in (*nearest, *alike)], _PHRASES)
    ranked = _ranked(words, searcher.texts(words) @ vector) if words else []
    chosen: list[Said] = []
    for one in ranked:
        if adds(one.text, [said.text for said in chosen]):
            chosen.append(one)
        if len(chosen) == query.k:
            break
    return Interrogation(captions[: query.k], chosen, _prompt(searcher, vector, captions[:1] + chosen[:1], ranked))


def _ranked(texts: Sequence[str], cosines: F32) -> list[Said]:
    order = np.argsort(-cosines, kind="stable")
    return [Said(texts[at], float(cosines[at])) for at in order.tolist()]


def _prompt(searcher: "Searcher", vector: F32, begin: Sequence[Said], ranked: Sequence[Said]) -> Said:
    """Append phrases to the better beginning as long as the whole comes nearer to the picture."""
    best = max(begin, key=lambda one: one.cos, default=Said("", 0.0))
    ranked = [one for one in ranked if one.cos >= _LIKE_FRAC * ranked[0].cos]
    for _ in range(_ROUNDS if begin else 0):
        tried = [one.text for one in ranked if adds(one.text, [best.text.casefold().replace(",", " ")])][:_TRIED]
        if not tried:
            break
        longer = [f"{best.text}, {phrase}" for phrase in tried]
        nearest = _ranked(longer, searcher.texts(longer) @ vector)[0]
        if nearest.cos < best.cos + _GAIN_COS:
            break
        best = nearest
    return best
