from datetime import UTC, datetime

import pytest

from filters.policy import REASON_OF, REASONS, ReleasePolicy, Unknown
from filters.signal import CATEGORIES, MECHANISMS, Category, Flag, Mechanism, Signal, Value

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def said(
    value: Value, category: Category = "train", mechanism: Mechanism = "content-signal", flag: Flag = ""
) -> Signal:
    return Signal("https://a.example/b.jpg", "asset", mechanism, category, value, "*", "…", NOON, flag)


def test_every_mechanism_has_a_reason_out_of_the_closed_set() -> None:
    assert set(REASON_OF) == set(MECHANISMS)
    assert set(REASON_OF.values()) < set(REASONS)
    for mechanism in MECHANISMS:
        assert ReleasePolicy().reason([said("deny", "train", mechanism)]) == REASON_OF[mechanism]


@pytest.mark.parametrize("category", CATEGORIES)
def test_by_default_a_release_is_free_of_what_may_not_be_crawled_mined_or_trained_on(category: Category) -> None:
    denied = category in ("crawl", "tdm", "train", "train-genai")
    assert (ReleasePolicy().reason([said("deny", category)]) is not None) is denied


def test_directives_chosen_by_name_deny_whatever_they_are_about() -> None:
    assert ReleasePolicy().reason([said("deny", "search", "x-robots-tag")]) == "noai_header"
    assert ReleasePolicy(deny=["crawl"]).reason([said("deny", "train", "meta-robots")]) == "noai_page"


def test_any_deny_wins_and_the_first_one_is_the_evidence() -> None:
    signals = [
        said("allow"),
        said("deny", "search"),
        said("deny", "tdm", "tdm-header"),
        said("deny", "train", "ai.txt"),
    ]
    found = ReleasePolicy().denial(signals)
    assert found is not None
    assert (found.reason, found.signal) == ("tdm_reserved", signals[2])
    assert ReleasePolicy(deny=["search"]).denial(signals) == ("training_reserved", signals[1])


def test_a_release_that_is_not_for_generative_training_may_hold_what_is_closed_to_that_alone() -> None:
    only_genai = [said("deny", "train-genai", "iptc-plus")]
    assert ReleasePolicy().reason(only_genai) == "rights_metadata"
    assert ReleasePolicy(deny=["crawl", "tdm", "train"]).reason(only_genai) is None
    assert ReleasePolicy(deny=["train-genai"]).reason([said("deny", "tdm", "c2pa")]) == "c2pa_denied"


def test_mechanisms_that_are_off_and_proxy_tokens_not_honoured_decide_nothing() -> None:
    proxy, rsl = said("deny", "train", "proxy-token"), said("deny", "train", "rsl")
    assert ReleasePolicy(proxy_tokens=False).reason([proxy]) is None
    assert ReleasePolicy(proxy_tokens=False).reason([proxy, rsl]) == "licence_denies"
    assert ReleasePolicy(off=["rsl"]).reason([rsl]) is None
    assert ReleasePolicy(off=["rsl"]).reason([rsl, proxy]) == "training_reserved"


@pytest.mark.parametrize(
    ("signals", "keep", "unclear", "drop"),
    [
        ([], None, None, "not_allowed"),
        ([said("unknown")], None, None, "not_allowed"),
        ([said("allow")], None, None, None),
        ([said("allow", "tdm")], None, None, "not_allowed"),
        ([said("unknown", flag="malformed")], None, "signal_unclear", "signal_unclear"),
        ([said("unknown", flag="unreadable"), said("allow")], None, "signal_unclear", "signal_unclear"),
        ([said("unknown", "search", flag="malformed"), said("allow")], None, None, None),
        ([said("unknown", flag="malformed_reservation"), said("allow")], *["signal_unclear"] * 3),
        ([said("deny", flag="nonconformant")], *["training_reserved"] * 3),
    ],
)
def test_what_unknown_means_is_a_choice(
    signals: list[Signal], keep: str | None, unclear: str | None, drop: str | None
) -> None:
    wanted: dict[Unknown, str | None] = {"keep": keep, "unclear": unclear, "drop": drop}
    assert {unknown: ReleasePolicy(unknown=unknown).reason(signals) for unknown in wanted} == wanted


def test_the_policy_is_told_in_one_order() -> None:
    one, two = ReleasePolicy(deny=["tdm", "crawl", "tdm"]), ReleasePolicy(deny=["crawl", "tdm"])
    assert (
        one.public() == two.public() == {"deny": ["crawl", "tdm"], "unknown": "keep", "proxy_tokens": True, "off": []}
    )
