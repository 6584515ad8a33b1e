"""What captions have in common with a picture, in pieces: their n-grams, without those that say nothing by themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

_PIECE: Final = re.compile(r"[^\w\s'’&+-]+|\s[-–—]+\s|\n")
_WORD: Final = re.compile(r"\w[\w'’&+-]*")
_MOST_WORDS: Final = 4
_MOST_CHARS: Final = 40
_FUNCTION_WORDS: Final = """
    a an the this that these those of in on at by for with from to into over under as and or but not no is are was were be been it its
    his her their our my your we you he she they i who which what when where how there here all any some more most very can will
    der die das den dem des ein eine einen einem einer eines und oder mit von vom zu zum zur im am auf bei für aus nach ist sind nicht
    à le la les un une du de et ou avec pour par sur dans en au aux est sont el los las una unos y o con por del al es son
    il lo gli i di da che e nel della dei per een het van op met voor
    image images picture pictures photo photos photograph bild foto
    jpg jpeg png gif webp svg img file thumbnail screenshot src via www com http https
"""
_EMPTY: Final = frozenset(_FUNCTION_WORDS.split())
"""Words that make no phrase alone, and that none begins or ends with: function words of six languages, and what files are called."""


def phrases(captions: Sequence[str], most: int) -> list[str]:
    """Return the phrases of one to four words that captions hold, those of most captions first, at most so many.

    A phrase ends at punctuation, neither begins nor ends with an empty word, and is no number.
    """
    found: Counter[str] = Counter()
    for caption in captions:
        found.update(set(_of(caption)))
    ranked = sorted(found.items(), key=lambda item: (-item[1], -len(item[0].split()), item[0]))
    return [phrase for phrase, _ in ranked[:most]]


def _of(caption: str) -> Iterator[str]:
    for piece in _PIECE.split(caption.casefold()):
        words = _WORD.findall(piece)
        for first in range(len(words)):
            for last in range(first, min(first + _MOST_WORDS, len(words))):
                if _full(words[first]) and _full(words[last]):
                    phrase = " ".join(words[first : last + 1])
                    if len(phrase) <= _MOST_CHARS:
                        yield phrase


def _full(word: str) -> bool:
    """Tell whether a word says something: no empty word, no number, no single letter of an alphabet."""
    return word not in _EMPTY and not word.isnumeric() and (len(word) > 1 or not word.isascii())


def adds(phrase: str, chosen: Sequence[str]) -> bool:
    """Tell whether a phrase says a word that none of the chosen says."""
    said = {word for one in chosen for word in one.split()}
    return not said.issuperset(phrase.split())
