import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.xrobots import denied, header_directives, meta_directives

TOKEN = "img2dataset"

# The "correct" column of optout.md §2.3, row by row; the policy rows once with the default set, once without.
TABLE = [
    (["noai"], "noai"),
    (["NoAI"], "noai"),
    (["noindex"], "noindex"),
    (["none"], "none"),
    (["img2dataset: noai"], "noai"),
    (["IMG2DATASET: NOAI"], "noai"),
    (["img2dataset : noai"], "noai"),
    (["otherbot: noai"], None),
    (["otherbot: noindex, noai"], None),
    (["otherbot: noindex", "noai"], "noai"),
    (["noai, unavailable_after: 25 Jun 2010 15:00:00 PST"], "noai"),
    (["max-image-preview:none, noai"], "noai"),
    (["otherbot: noindex, img2dataset: noai"], "noai"),
]


@pytest.mark.parametrize(("lines", "directive"), TABLE)
def test_header_lines_deny_as_the_table_of_the_reference_says(lines: list[str], directive: str | None) -> None:
    assert denied(header_directives(lines, TOKEN)) == directive


@pytest.mark.parametrize("line", ["noindex", "none", "noimageindex"])
def test_indexing_directives_are_a_policy_that_can_be_switched_off(line: str) -> None:
    assert denied(header_directives([line], TOKEN)) is not None
    assert denied(header_directives([line], TOKEN), disallowed=("noai", "noimageai")) is None


def test_none_means_noindex_and_nofollow_and_nothing_else() -> None:
    directives = header_directives(["none"], TOKEN)
    assert denied(directives, ("noindex",)) == "none"
    assert denied(directives, ("nofollow",)) == "none"
    assert denied(directives, ("noai", "noimageindex")) is None


def test_the_value_of_a_valued_directive_is_no_directive() -> None:
    assert header_directives(["max-image-preview: none"], TOKEN) == {"max-image-preview:none"}
    assert denied(header_directives(["max-image-preview:none"], TOKEN)) is None


@pytest.mark.parametrize("date", ["Friday, 25-Jun-10 15:00:00 PST", "2010-06-25T15:00:00Z", "25 Jun 2010 15:00:00 PST"])
def test_a_date_with_colons_and_commas_is_no_crawler_that_takes_the_rest_of_the_line(date: str) -> None:
    assert denied(header_directives([f"unavailable_after: {date}, noai"], TOKEN)) == "noai"


@pytest.mark.parametrize(
    "line",
    [
        "otherbot: noindex, noai",
        "otherbot: noindex, max-snippet:0, noai",
        "otherbot: nofollow, otherbot2: noindex, noai",
    ],
)
def test_a_folded_line_with_a_general_directive_behind_another_crawler_fails_closed(line: str) -> None:
    assert denied(header_directives([line], TOKEN)) is None
    assert denied(header_directives([line], TOKEN, folded=True)) == "noai"


def test_a_folded_line_still_leaves_what_another_crawler_was_told_by_name() -> None:
    assert header_directives(["otherbot: noai, nofollow"], TOKEN, folded=True) == {"nofollow"}


def test_a_line_break_starts_a_new_field_unless_blank_space_follows_it() -> None:
    assert denied(header_directives(["otherbot: noindex\r\nnoai"], TOKEN)) == "noai"
    assert denied(header_directives(["otherbot: noindex,\r\n noai"], TOKEN)) is None


@pytest.mark.parametrize(
    "line", ["robots: noai", "*: noai", "noai: true", "noindex noai", "noai;", " , ,noai", "noai:"]
)
def test_sloppy_spellings_with_one_plain_meaning_deny(line: str) -> None:
    assert "noai" in header_directives([line], TOKEN)


@pytest.mark.parametrize("line", ["", ":", ",", "img2dataset:", "all", "index, follow", "noarchive", "noaix", "xnoai"])
def test_lines_that_forbid_nothing_deny_nothing(line: str) -> None:
    assert denied(header_directives([line], TOKEN)) is None


def test_meta_tags_for_everybody_and_for_us_add_up_and_others_are_not_ours() -> None:
    pairs = [("Robots", "nofollow"), ("img2dataset", "NoImageAI"), ("robots", "max-snippet:0"), ("googlebot", "noai")]
    assert meta_directives(pairs, "Img2Dataset") == {"nofollow", "noimageai", "max-snippet:0"}
    assert denied(meta_directives(pairs, TOKEN)) == "noimageai"
    assert denied(meta_directives(pairs, "googlebot")) == "noai"
    assert meta_directives([("description", "noai"), ("", "noai")], TOKEN) == frozenset()


def test_the_disallowed_set_is_read_without_case_and_reported_in_its_order() -> None:
    assert denied({"noai", "noindex"}, ("NoIndex", "noai")) == "noindex"
    assert denied({"noai"}, ()) is None


@settings(deadline=None)
@given(st.lists(st.text(), max_size=3), st.text(max_size=9), st.booleans())
def test_no_text_makes_a_reader_raise_and_folding_never_finds_less(lines: list[str], token: str, meta: bool) -> None:
    if meta:
        meta_directives([(token, line) for line in lines], token)
    assert header_directives(lines, token) <= header_directives(lines, token, folded=True)


@settings(deadline=None)
@given(st.text(alphabet="ab:,; -"), st.text(alphabet="ab:,; -"))
def test_a_general_noai_on_its_own_line_always_denies(before: str, after: str) -> None:
    assert denied(header_directives([before, "noai", after], TOKEN)) is not None
