import numpy as np
import pyarrow as pa
import pytest

from filters.language import identify, language, languages
from tests.filters.tables import reasons


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("The quick brown fox jumps over the lazy dog", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund", "de"),
        ("Le chat dort sur le canapé devant la fenêtre", "fr"),
        ("窓の前のソファーで猫が寝ています", "ja"),
        ("Рыжая кошка спокойно спит на большом диване возле открытого окна", "ru"),
        ("一只猫在窗前的沙发上睡觉", "zh"),
    ],
)
def test_sentences_are_identified(value: str, code: str) -> None:
    found, prob = identify(value)
    assert found == code
    assert prob > 0.5


@pytest.mark.parametrize("value", ["", "123 456", "— * —", "🙂"])
def test_a_text_without_letters_is_in_no_language(value: str) -> None:
    assert identify(value) == ("und", 0.0)


def decide(code: str | None, prob: float | None, keep: list[str] | None, min_prob: float = 0.5) -> str | None:
    scores = {"language": pa.array([code], pa.string()), "language_prob": pa.array([prob], pa.float32())}
    said: str | None = language(keep=keep, min_prob=min_prob).decide(pa.table(scores))[0].as_py()
    return said


def test_the_probability_at_just_below_and_just_above_the_limit() -> None:
    at = np.float32(0.7)
    below, above = np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(1))
    assert [decide("fr", float(p), ["en"], 0.7) for p in (below, at, above)] == [
        None,
        "language_other",
        "language_other",
    ]
    assert [decide("en", float(p), ["en"], 0.7) for p in (below, at, above)] == [None] * 3


def test_missing_scores_are_a_reason_only_where_languages_are_chosen() -> None:
    assert decide(None, None, ["en"]) == "language_missing"
    assert decide("en", float("nan"), ["en"]) == "language_missing"
    assert decide(None, None, None) is None


def test_rows_are_judged_by_their_text() -> None:
    rows = pa.table(
        {"text": ["The quick brown fox jumps over the dog", "Le chat dort sur le canapé devant la fenêtre", "42", None]}
    )
    assert reasons(language(keep=["en", "de"]), rows) == [None, "language_other", None, "language_missing"]
    assert reasons(language(), rows) == [None] * 4


def test_a_language_nobody_can_identify_is_refused_when_the_filter_is_made() -> None:
    assert {"en", "ja", "de"} <= languages()
    with pytest.raises(ValueError, match="no such language: xx"):
        language(keep=["en", "xx"])
