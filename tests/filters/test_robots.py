import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.robots import LIMIT_BYTES, compile_pattern, parse, target_octets

SUITE = Path(__file__).parents[3] / "shared" / "robotstxt-spec-test" / "expectations.json"
HOST = "https://a.example"

IMPLICIT = '§2.2.2: "The /robots.txt URI is implicitly allowed"; the suite is older than the sentence'
ENCODED = (
    "§2.2.2: octets outside ASCII in the URI and in the file MUST be percent-encoded prior to comparison; "
    "its example maps /foo/bar/ツ to /foo/bar/%E3%83%84"
)
UNRESERVED = (
    "§2.2.2: a percent-encoded unreserved octet MUST be unencoded; its example: /foo/bar/%62%61%7A matches /foo/bar/baz"
)
DIGITS = "§2.2.1: a token matches as a whole; cutting it at a digit hands its rules to another crawler (optout.md §1.3)"
INDEX = 'Google-specific; §2.2.2 has no index.html: "the most specific match is the match that has the most octets"'
MISSES = {
    ("correctness/index-page.textproto", b"http://foo.com/allowed-slash/", "foobot", INDEX): 1,
    ("correctness/non-ascii-paths.textproto", b"http://foo.bar/foo/bar/\xe3\x83\x84", "FooBot", ENCODED): 2,
    ("correctness/non-ascii-paths.textproto", b"http://foo.bar/foo/bar/baz", "FooBot", UNRESERVED): 1,
    ("stress/327748.textproto", b"http://m.example.com/robots.txt", "asdfbot", IMPLICIT): 1,
    ("stress/369883.textproto", b"http://example.com/robots.txt", "BarBot", IMPLICIT): 1,
    ("stress/369883.textproto", b"http://example.com/robots.txt", "AB", IMPLICIT): 1,
    ("stress/369883.textproto", b"http://example.com/foo/bar", "AB42bot", DIGITS): 1,
    ("stress/369883.textproto", b"http://example.com/", "AB42bot", DIGITS): 1,
    ("stress/369883.textproto", b"http://example.com/", "AB", DIGITS): 1,
    ("stress/860237.textproto", b"http://example.com/robots.txt", "XYZ", IMPLICIT): 1,
}


def allowed(rules: str, path: str, token: str = "img2dataset") -> bool:
    return parse(f"User-agent: *\n{rules}\n".encode()).verdict(HOST + path, token).allowed


def expectations() -> list[tuple[dict[str, Any], bytes, dict[str, Any]]]:
    if not SUITE.exists():
        pytest.skip(f"google/robotstxt-spec-test is not at {SUITE}")
    cases = json.loads(SUITE.read_text())
    return [(case, base64.b64decode(case["robotstxt_b64"]), e) for case in cases for e in case["expectations"]]


def test_of_the_400_expectations_of_the_spec_test_389_hold_and_each_miss_has_its_section() -> None:
    held = 0
    missed: dict[tuple[str, bytes, str], int] = {}
    for case, body, expectation in expectations():
        url = base64.b64decode(expectation["url"])
        if parse(body).verdict(url, expectation["agent"]).allowed == expectation["allowed"]:
            held += 1
        else:
            key = (case["file"], url, expectation["agent"])
            missed[key] = missed.get(key, 0) + 1
    assert missed == {key[:3]: count for key, count in MISSES.items()}
    assert (held, sum(MISSES.values())) == (389, 11)


@pytest.mark.parametrize(
    ("pattern", "target", "matches"),
    [
        ("/path/foo-%24", "/path/foo-$", True),
        ("/path/foo-$", "/path/foo-", True),
        ("/a$b", "/a$b", True),
        ("/*.jpg$", "/a/b.jpg?w=1", False),
        ("/*.jpg", "/a/b.jpg?w=1", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/%7Ejoe", "/~joe", True),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2fb", "/a/b", False),
        ("/fish", "/Fish", False),
    ],
)
def test_paths_match_as_the_table_of_the_reference_says(pattern: str, target: str, matches: bool) -> None:
    assert allowed(f"Disallow: {pattern}", target) is not matches


@pytest.mark.parametrize(
    ("pattern", "target", "matches"),
    [
        ("/a*b*c", "/abc", True),
        ("/a*b*c", "/acb", False),
        ("/*a$", "/aba", True),
        ("/a*a$", "/a", False),
        ("/ab*ba$", "/aba", False),
        ("/*", "/", True),
        ("*", "/x", True),
        ("/x*$", "/xyz", True),
        ("/$", "/", True),
        ("/$", "/a", False),
        ("/a%2Ab", "/a*b", True),
        ("/a%2Ab", "/axb", False),
        ("/100%", "/100%25", True),
        ("/a b", "/a%20b", True),
        ("/a%zz", "/a%25zz", True),
        ("/?id", "?id=1", True),
        ("/x#y", "/x", True),
    ],
)
def test_wildcards_anchors_and_escapes_match(pattern: str, target: str, matches: bool) -> None:
    assert allowed(f"Disallow: {pattern}", target) is not matches


def test_most_octets_win_and_equal_rules_allow_whatever_their_order() -> None:
    assert not allowed("Allow: /page\nDisallow: /*.html", "/page.html")
    for rules in ("Disallow: /x\nAllow: /x", "Allow: /x\nDisallow: /x"):
        assert allowed(rules, "/x")
    assert allowed("Disallow: /x\nAllow: /x*", "/x"), "the star is an octet, too"
    assert allowed("Disallow: /*/b\nAllow: /a*b", "/a/b"), "four octets each, so Allow"


def test_reserved_characters_of_a_query_deny_in_both_spellings_but_equal_spellings_match_plainly() -> None:
    raw, escaped = "/go?u=https://b.example/", "/go?u=https%3A%2F%2Fb.example%2F"
    for rule in (raw, escaped):
        for path in (raw, escaped):
            assert not allowed(f"Disallow: {rule}", path), (rule, path)
            assert allowed(f"Disallow: /\nAllow: {rule}", path) is (rule == path), (rule, path)
    assert not allowed("Disallow: /*?*u=a%2Fb", "/go?u=a/b")
    assert allowed("Disallow: /a%2Fb", "/a/b"), "in a path the two differ"


def test_the_verdict_names_the_line_that_decided() -> None:
    body = b"User-agent: *\r\nDisallow: /a # why\r\n\r\nAllow: /a/b\rDisallow: /c\n"
    robots = parse(body)
    assert robots.verdict(f"{HOST}/a/x", "b") == (False, "Disallow: /a # why", 2)
    assert robots.verdict(f"{HOST}/a/b", "b") == (True, "Allow: /a/b", 4)
    assert robots.verdict(f"{HOST}/c", "b") == (False, "Disallow: /c", 5)
    assert robots.verdict(f"{HOST}/d", "b") == (True, "", None)


def test_of_equal_rules_the_first_line_is_the_evidence() -> None:
    body = b"User-agent: *\nDisallow: /ab\nDisallow: /%61b\nDisallow: /*x\nDisallow: /*y\n"
    assert parse(body).verdict(f"{HOST}/ab", "b").line == 2
    assert parse(body).verdict(f"{HOST}/yx", "b").line == 4


def test_a_token_is_matched_whole_without_case_and_its_groups_are_merged() -> None:
    robots = parse(
        b"User-agent: Img2Dataset\nDisallow: /a\n"
        b"User-agent: img\nDisallow: /b\n"
        b"User-agent: *\nDisallow: /c\n"
        b"User-agent: other\nUser-agent: IMG2DATASET/1.0 (+x)\nDisallow: /d\n"
    )
    denied = {
        token: [path for path in "abcd" if not robots.verdict(f"{HOST}/{path}", token).allowed]
        for token in ("img2dataset", "IMG2dataset", "img", "other", "img2datase", "", "*")
    }
    assert denied["img2dataset"] == denied["IMG2dataset"] == ["a", "d"], "and nothing inherited from *"
    assert denied["img"] == ["b"]
    assert denied["other"] == ["d"]
    assert denied["img2datase"] == denied[""] == denied["*"] == ["c"]


def test_a_group_that_says_nothing_allows_all_and_does_not_fall_back_to_everybody() -> None:
    robots = parse(b"User-agent: *\nDisallow: /\nUser-agent: quiet\nCrawl-delay: 9\n")
    assert robots.verdict(f"{HOST}/a", "quiet").allowed
    assert not robots.verdict(f"{HOST}/a", "loud").allowed


def test_blank_lines_and_other_records_do_not_split_a_group_but_an_empty_rule_does() -> None:
    robots = parse(b"User-agent: a\n\nSitemap: /s\nContent-Signal: ai-train=no\nUser-agent: b\n\n<br>\nDisallow: /\n")
    assert not robots.verdict(f"{HOST}/x", "a").allowed
    split = parse(b"User-agent: a\nDisallow:\nUser-agent: b\nDisallow: /\n")
    assert split.verdict(f"{HOST}/x", "a").allowed
    assert not split.verdict(f"{HOST}/x", "b").allowed


def test_other_records_are_kept_with_the_group_they_stand_in() -> None:
    robots = parse(
        b"License: /l\n\nUser-agent: a\nContent-Signal: ai-train=no # x\nUser-agent: B\nDisallow: /\n\nSitemap: /s\n"
        b"User-agent: *\nCONTENT-USAGE : train-ai=n\nno record\nbad key here: 1\nAllow: /z\nUser-agent: a\nAllow: /y\nContent-Signal: b=c\n"
    )
    said = {token: [(r.value, r.number) for r in robots.said(token, "content-signal")] for token in ("A", "b", "c")}
    assert said == {"A": [(b"ai-train=no", 4), (b"b=c", 16)], "b": [(b"ai-train=no", 4)], "c": []}
    assert [record.raw for record in robots.said("c", "content-usage")] == ["CONTENT-USAGE : train-ai=n"]
    assert [(section, r.key, r.apart) for section, r in robots.records][:3] == [
        (-1, "license", False),
        (0, "content-signal", False),
        (0, "sitemap", True),
    ]
    assert [robots.scope(token) for token in ("A", "b", "c")] == ["A", "b", "*"]


def test_rules_before_any_user_agent_line_belong_to_nobody() -> None:
    assert parse(b"Disallow: /\nUser-agent: a\nAllow: /b\n").verdict(f"{HOST}/x", "a").allowed


@pytest.mark.parametrize(
    "line", ["Disalow: /x", "disallow /x", "Disallow : /x", "Disallow:/x", "\tDisallow: x", "Disallow: x"]
)
def test_sloppy_disallow_lines_deny(line: str) -> None:
    assert not allowed(line, "/x")


def test_sloppy_allow_lines_and_prose_allow_nothing() -> None:
    for line in ("Allow /x", "Allow: x", "Alow: /x"):
        assert not allowed(f"Disallow: /\n{line}", "/x"), line
    assert allowed("Disallow robots that are bad", "/robots-that")


def test_robots_txt_itself_is_always_allowed() -> None:
    assert allowed("Disallow: /", "/robots.txt")
    assert not allowed("Disallow: /", "/robots.txt.bak")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"])
def test_a_byte_order_mark_is_skipped(mark: bytes) -> None:
    assert not parse(mark + b"User-agent: *\nDisallow: /\n").verdict(f"{HOST}/a", "b").allowed


@pytest.mark.parametrize(
    "text", ["\0" * 999 + "{}", "User-agent: *\0\nDisallow: /\n", "User-agent: *\nDisallow\0: \0/\n"]
)
def test_nul_octets_take_no_rule_away(text: str) -> None:
    body = text.replace("{}", "User-agent: *\nDisallow: /\n").encode()
    assert not parse(body).verdict(f"{HOST}/a", "b").allowed


@pytest.mark.parametrize(
    ("codec", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-16-le", b""), ("utf-16-be", b"")]
)
def test_a_utf_16_file_is_read_as_it_was_meant(codec: str, mark: bytes) -> None:
    robots = parse(mark + "User-agent: *\r\nDisallow: /ü\r\n".encode(codec))
    assert robots.encoding == codec
    assert robots.verdict(f"{HOST}/%C3%BC", "b") == (False, "Disallow: /ü", 2)
    assert robots.verdict(f"{HOST}/u", "b").allowed


def test_a_long_file_is_cut_behind_its_last_full_line_and_says_so() -> None:
    head = b"User-agent: *\nDisallow: /first\n"
    last = b"Allow: /first/public\n"
    filler = b"#" * (LIMIT_BYTES - len(head) - len(last) - 1) + b"\n"
    whole = parse(head + filler + last)
    assert not whole.truncated
    assert whole.verdict(f"{HOST}/first/public", "b").allowed
    cut = parse(head + filler + b" " + last)
    assert cut.truncated
    assert cut.verdict(f"{HOST}/first/public", "b") == (False, "Disallow: /first", 2)
    assert parse(b"User-agent: *\nDisallow: /a\nAllow: /a", truncated=True).verdict(f"{HOST}/a", "b").line == 2
    assert parse(b"User-agent: *" * 100_000).truncated


@pytest.mark.parametrize(
    "rule",
    [
        b"/" + b"*a" * 200_000 + b"*z",
        b"/" + b"a*" * 200_000 + b"$",
        b"*" * 400_000,
        b"%" * 400_000,
        b"/?" + b"%3A" * 100_000,
        b"/" + b"a" * 400_000,
    ],
)
def test_a_hostile_pattern_costs_no_more_than_its_length(rule: bytes) -> None:
    robots = parse(b"User-agent: *\nDisallow: " + rule + b"\n")
    for n in range(20):  # a backtracking matcher would not come back from the first
        assert robots.verdict(f"{HOST}/" + "a" * 2000 + str(n), "b").allowed is (rule[:2] != b"**")


def test_ten_thousand_rules_decide_a_thousand_urls_each_by_its_own_line() -> None:
    kinds = ("/dir{}/", "/*/dir{}/*.jpg", "/*?id={}&", "/x/{}$")
    body = "User-agent: *\n" + "".join(f"Disallow: {kinds[n % 4].format(n)}\n" for n in range(10_000))
    robots = parse(body.encode())
    urls = ("/dir{}/a", "/a/dir{}/b.jpg", "/?id={}&b", "/x/{}")
    for n in range(0, 10_000, 10):
        assert robots.verdict(HOST + urls[n % 4].format(n), "b").line == n + 2
        assert robots.verdict(f"{HOST}/y/{n}", "b").allowed


ALPHABET = st.text(alphabet="/ab*$%2?=", max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), ALPHABET), max_size=8), ALPHABET)
@example([(False, "/a"), (True, "/*a"), (True, "/a$")], "/a")
def test_the_index_finds_what_trying_every_rule_finds(rules: list[tuple[bool, str]], path: str) -> None:
    lines = [(allow, "/" + rule, n) for n, (allow, rule) in enumerate(rules, start=2)]
    body = "".join(f"{'Allow' if allow else 'Disallow'}: {rule}\n" for allow, rule, _ in lines)
    verdict = parse(f"User-agent: *\n{body}".encode()).verdict(f"{HOST}/{path}", "b")
    target = target_octets(f"{HOST}/{path}")
    matching = [
        (pattern.octets, allow, -line)
        for allow, rule, line in lines
        if (pattern := compile_pattern(rule.encode())).matches(target)
    ]
    _, allow, line = max(matching, default=(0, True, 0))
    assert (verdict.allowed, verdict.line) == (allow, -line or None)


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=60) | st.text(max_size=60), st.text(max_size=9))
def test_no_bytes_make_the_parser_or_the_verdict_raise(body: bytes, url: bytes | str, token: str) -> None:
    verdict = parse(b"User-agent: *\nDisallow: /" + body).verdict(url, token)
    assert verdict.allowed or verdict.line is not None
