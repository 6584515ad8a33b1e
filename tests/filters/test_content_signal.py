import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.content_signal import read
from filters.robots import parse

TOKEN = "tamis"


def said(text: str, token: str = TOKEN) -> list[tuple[str, str, str]]:
    return [(s.category, s.value, s.flag) for s in read(parse(text.encode()), token)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        # optout.md §4.4
        ("Content-Signal: search=yes, ai-train=no", [("search", "allow", ""), ("train", "deny", "")]),
        ("Content-signal: ai-train=no", [("train", "deny", "")]),
        ("content-signal:search = yes ,ai-train = no", [("search", "allow", ""), ("train", "deny", "")]),
        ("Content-Signal: search=yes,ai-train=no,ai-input=no,use=reference",
         [("search", "allow", ""), ("train", "deny", ""), ("ai-input", "deny", "")]),
        ("Content-Signal: AI-Train=YES", [("train", "allow", "")]),
        ("Content-Signal: search=yes", [("search", "allow", "")]),
        ("Content-Signal: use=reference", []),
        ("Content-Signal:", []),
        # what is badly written may forbid, and never allows
        ("Content-Signal: search=yes ai-train=no", [("search", "unknown", "malformed"), ("train", "deny", "nonconformant")]),
        ("Content-Signal: ai-train: no", [("train", "deny", "nonconformant")]),
        ("Content-Signal: ai_train=no", [("train", "deny", "nonconformant")]),
        ('Content-Signal: ai-train="no"', [("train", "deny", "nonconformant")]),
        ("Content-Signal: ai-train=yes search=yes", [("train", "unknown", "malformed"), ("search", "unknown", "malformed")]),
        ("Content-Signal: ai-train=maybe", [("train", "unknown", "malformed")]),
        ("Content-Signal: ai-train=false", [("train", "unknown", "malformed_reservation")]),
        ("Content-Signal: ai-train", []),
        ("Content-Signals: ai-train=no", []),
    ],
)  # fmt: skip
def test_a_line_says_what_the_reference_says(line: str, found: list[tuple[str, str, str]]) -> None:
    assert said(f"User-agent: *\n{line}\nAllow: /\n") == found


def test_a_line_is_scoped_by_its_user_agent_group_and_does_not_split_it() -> None:
    text = "User-agent: *\nContent-Signal: ai-train=no\nAllow: /\n\nUser-agent: tamis\nContent-Signal: ai-train=yes\nAllow: /\n"
    assert said(text) == [("train", "allow", "")]
    assert said(text, "other") == [("train", "deny", "")]
    own_without = "User-agent: *\nContent-Signal: ai-train=no\nAllow: /\nUser-agent: tamis\nAllow: /\n"
    assert said(own_without) == [], "a group of one's own inherits nothing"
    shared = "User-agent: tamis\nContent-Signal: ai-train=no\nUser-agent: other\nDisallow: /x\n"
    assert said(shared, "other") == [("train", "deny", "")]


def test_groups_of_one_name_add_up_and_every_line_is_kept() -> None:
    text = (
        "User-agent: *\nContent-Signal: ai-train=yes\nAllow: /\nUser-agent: *\nContent-Signal: ai-train=no\nAllow: /\n"
    )
    assert said(text) == [("train", "allow", ""), ("train", "deny", "")]


def test_a_line_before_any_group_forbids_everybody_and_allows_nobody() -> None:
    assert said("Content-Signal: search=yes, ai-train=no\nUser-agent: *\nAllow: /\n") == [
        ("train", "deny", "nonconformant")
    ]


def test_the_words_are_kept_as_written() -> None:
    (found,) = read(parse(b"User-agent: *\nContent-Signal: ai-train=NO # ours\n"), TOKEN)
    assert found.raw == "Content-Signal: ai-train=NO # ours"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(value: bytes) -> None:
    read(parse(b"User-agent: *\nContent-Signal: " + value), TOKEN)
