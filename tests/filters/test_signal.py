from datetime import UTC, datetime

import pytest

from filters.signal import Category, Signal, Value, combine

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def said(value: Value, category: Category = "train") -> Signal:
    return Signal("https://a.example/b.jpg", "asset", "x-robots-tag", category, value, "*", "noai", NOON)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([], "unknown"),
        (["unknown"], "unknown"),
        (["allow"], "allow"),
        (["unknown", "allow", "unknown"], "allow"),
        (["allow", "deny", "allow"], "deny"),
        (["deny", "unknown"], "deny"),
    ],
)
def test_any_deny_wins_then_any_allow_else_unknown(values: list[Value], answer: Value) -> None:
    assert combine([said(value) for value in values], "train") == answer
    assert combine([said(value) for value in reversed(values)], "train") == answer


def test_a_reservation_of_mining_covers_training_but_leave_to_mine_is_not_leave_to_train() -> None:
    assert combine([said("deny", "tdm"), said("allow", "train")], "train") == "deny"
    assert combine([said("allow", "tdm")], "train") == "unknown"
    assert combine([said("allow", "tdm")], "tdm") == "allow"


def test_a_reservation_of_training_covers_generative_training_and_not_the_other_way_round() -> None:
    assert combine([said("deny", "train")], "train-genai") == "deny"
    assert combine([said("deny", "tdm"), said("allow", "train-genai")], "train-genai") == "deny"
    assert combine([said("deny", "train-genai")], "train") == "unknown"
    assert combine([said("allow", "train")], "train-genai") == "unknown"


def test_a_refusal_to_crawl_or_to_be_indexed_says_nothing_about_other_categories() -> None:
    signals = [said("deny", "crawl"), said("deny", "search")]
    assert [combine(signals, category) for category in ("crawl", "search", "train", "tdm")] == [
        "deny",
        "deny",
        "unknown",
        "unknown",
    ]


def test_a_signal_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Signal("https://a.example/", "page", "meta-robots", "train", "deny", "*", "noai", datetime(2026, 11, 21))
