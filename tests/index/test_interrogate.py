"""A picture is put into words: captions and phrases of its neighbours, ranked by the model that made the vectors."""

import numpy as np
import pytest

from index.interrogate import interrogate
from index.phrases import adds, phrases
from index.query import Query, Term
from index.search import Searcher
from pipeline import tombstones
from pipeline.store import Store
from tests.index.conftest import DRAWN
from tests.index.made import facts, make
from tests.small_dataset import draw, jpeg


def asked(number: int, k: int = 8) -> Query:
    return Query((Term(picture=jpeg(number)),), k=k)


def test_captions_and_phrases_come_with_their_own_cosine_best_first(drawn_searcher: Searcher) -> None:
    vector = drawn_searcher.vector(asked(17).terms)
    found = interrogate(drawn_searcher, asked(17))
    for said in (found.captions, found.phrases, [found.prompt]):
        cosines = [one.cos for one in said]
        assert cosines == sorted(cosines, reverse=True)
        assert cosines == pytest.approx(drawn_searcher.texts([one.text for one in said]) @ vector, abs=2e-3)
    texts = {draw(n)[1] for n in range(DRAWN)}
    assert len(found.captions) == len(found.phrases) == 8
    assert {one.text for one in found.captions} <= texts
    assert all(any(one.text in text for text in texts) for one in found.phrases)


def test_the_prompt_is_no_farther_than_its_best_part(drawn_searcher: Searcher) -> None:
    for number in (1, 17, 40):
        found = interrogate(drawn_searcher, asked(number))
        assert found.prompt.cos >= max(found.captions[0].cos, found.phrases[0].cos)
        assert found.to_json()["prompt"] == found.prompt.text


def test_no_phrase_says_only_what_better_ones_said(drawn_searcher: Searcher) -> None:
    chosen = [one.text for one in interrogate(drawn_searcher, asked(30, 20)).phrases]
    assert all(adds(phrase, chosen[:at]) for at, phrase in enumerate(chosen))


def test_words_of_the_hidden_are_not_read(drawn: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    searcher = Searcher(drawn)
    ids = np.array([searcher.opened.matching([])[0]])
    vectors = [searcher.opened.vectors(ids, "image"), searcher.opened.vectors(ids, "text")]
    secret = {0: {"caption": "an unmistakable zeppelin"}}
    store = make(tmp_path_factory.mktemp("one") / "set", *(np.repeat(v, 2, 0) for v in vectors), changed=secret)
    assert "zeppelin" in str(interrogate(Searcher(store), asked(0)))
    key = bytes.fromhex(facts(0)["key"])
    tombstones.publish(store, tombstones.of_request([key], ["-"], "r-1"))
    assert "zeppelin" not in str(interrogate(Searcher(store), asked(0)))


def test_nothing_to_say_is_said_with_nothing(drawn: Store) -> None:
    from index.conditions import parse

    found = interrogate(Searcher(drawn), Query(asked(1).terms, where=(parse("domain=nowhere.example"),)))
    assert (found.captions, found.phrases, found.prompt.text) == ([], [], "")


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["a photo of the red apple.jpg"], ["red apple", "apple", "red"]),
        (["red apple, green leaf"], ["green leaf", "red apple", "apple", "green", "leaf", "red"]),
        (["apple", "an apple pie", "APPLE"], ["apple", "apple pie", "pie"]),
        (["a 2024 b 7"], []),
        (["flag of Greece"], ["flag of greece", "flag", "greece"]),
        (["赤い円と青い背景"], ["赤い円と青い背景"]),
        (["l'été à Nice"], ["l'été à nice", "l'été", "nice"]),
        (["", "the of and"], []),
        (["x" * 41], []),
    ],
)
def test_phrases_of_captions(captions: list[str], expected: list[str]) -> None:
    assert phrases(captions, 100) == expected


def test_no_more_phrases_than_asked_for_and_those_of_most_captions_first() -> None:
    assert phrases(["blue star", "blue ring", "red star", "blue star"], 3) == ["blue", "star", "blue star"]
