import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.aipref import MAX_CHARS, read_header, read_robots
from filters.robots import parse

HOST = "https://a.example"


def found(line: str) -> dict[str, str]:
    """Return what a header says by category."""
    return {statement.category: statement.value for statement in read_header([line])}


@pytest.mark.parametrize(
    ("line", "train_ai", "search"),
    [
        # optout.md §5, row by row
        ("train-ai=n", "deny", None),
        ("train-ai=n;foo=1", "deny", None),
        ("train-ai;allow=n, train-ai=y", "allow", None),
        ('train-ai=y, train-ai, search=n, search="n"', "unknown", "unknown"),
        ("train-ai=N", "unknown", None),
        ("train-ai=?0", "unknown", None),
        ("Train-AI=n", "unknown", None),
        ("train-ai = n", "unknown", None),
        ("train-ai=n search=y", "unknown", None),
        ("bots=n, x.y-z=1", None, None),
        # and beside it
        ("train-ai=y, search=n", "allow", "deny"),
        ("train-ai=(n y)", "unknown", None),
        ("", None, None),
        ("x=1", None, None),
    ],
)
def test_the_header_is_a_dictionary_of_tokens(line: str, train_ai: str | None, search: str | None) -> None:
    said = found(line)
    assert (said.get("train-genai"), said.get("search")) == (train_ai, search)


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("train-ai=n", ""),
        ("Train-AI=n", "malformed_reservation"),
        ("train-ai = n", "malformed_reservation"),
        ("train-ai=n search=y", "malformed_reservation"),
        ("train-ai=N", "malformed_reservation"),
        ("train-ai=?0", "malformed_reservation"),
        ('train-ai="n"', "malformed_reservation"),
        ("train-ai=no", "malformed_reservation"),
        ("train_genai: n,", "malformed_reservation"),
        ("train-ai = y", "malformed"),
        ("train-ai", "malformed"),
        ("train-ai=nothing", "malformed"),
        ("Search=n", "malformed"),
        ("\xff", "malformed"),
        ("train-ai=n" + "," * MAX_CHARS, "malformed_reservation"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_held_where_it_looks_like_a_reservation(line: str, flag: str) -> None:
    (said,) = read_header([line])
    assert (said.flag, said.value) == (flag, "deny" if flag == "" else "unknown")


def test_several_fields_are_one_dictionary_and_a_broken_one_breaks_all() -> None:
    said = read_header(["train-ai=y", "search=n, train-ai=n"])
    assert {s.category: s.value for s in said} == {"train-genai": "deny", "search": "deny"}
    assert [(s.category, s.value) for s in read_header(["train-ai=n", "Search"])] == [("train-genai", "unknown")]


@pytest.mark.parametrize(
    ("label", "category"),
    [("tdm", "tdm"), ("ai", "train"), ("genai", "train-genai"), ("inference", "ai-input"), ("all", "tdm"),
     ("train-genai", "train-genai"), ("ai-use", "ai-input"), ("ai-output", "ai-input"), ("bots", "crawl")],
)  # fmt: skip
def test_labels_of_earlier_drafts_mean_what_they_stood_for_and_are_flagged(label: str, category: str) -> None:
    (no,), (yes,) = read_header([f"{label}=n"]), read_header([f"{label}=y"])
    assert (no.category, no.value, no.flag) == (category, "deny", "old_label")
    assert (yes.category, yes.value, yes.flag) == (category, "allow", "old_label")


def in_robots(text: str, path: str, token: str = "tamis") -> list[tuple[str, str]]:
    return [(s.category, s.value) for s in read_robots(parse(text.encode()), token, HOST + path)]


EXAMPLE = """\
User-Agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n
Content-Usage: /ai-ok/ train-ai=y

User-Agent: ExampleBot
Allow: /
Content-Usage: train-ai=y
"""


@pytest.mark.parametrize(
    ("path", "token", "said"),
    [
        ("/test", "tamis", [("train-genai", "deny")]),
        ("/never/test", "tamis", []),
        ("/ai-ok/test", "tamis", [("train-genai", "allow")]),
        *((path, "ExampleBot", [("train-genai", "allow")]) for path in ("/test", "/never/test", "/ai-ok/test")),
    ],
)
def test_the_drafts_own_example_holds(path: str, token: str, said: list[tuple[str, str]]) -> None:
    assert in_robots(EXAMPLE, path, token) == said


def test_the_longest_path_decides_in_any_order_and_equal_paths_add_up() -> None:
    rules = ["Content-Usage: /a/b train-ai=y", "Content-Usage: /a\ttrain-ai=n", "Content-Usage: search=n"]
    for order in (rules, rules[::-1]):
        text = "User-agent: *\n" + "\n".join(order) + "\n"
        assert in_robots(text, "/a/b") == [("train-genai", "allow")]
        assert in_robots(text, "/a/c") == [("train-genai", "deny")]
        assert in_robots(text, "/c") == [("search", "deny")]
    same = "User-agent: *\nContent-Usage: /a train-ai=y\nContent-Usage: /a train-ai=n\n"
    assert sorted(in_robots(same, "/a")) == [("train-genai", "allow"), ("train-genai", "deny")], "combined: the n wins"
    assert ("train-genai", "deny") in in_robots(
        "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: / train-ai=y\n", "/"
    )


def test_patterns_are_those_of_robots_txt_and_malformed_lines_are_flagged() -> None:
    text = "User-agent: *\nContent-Usage: /*.jpg$ train-ai=n\nContent-Usage: /x Train-AI=n\n"
    assert in_robots(text, "/b/a.jpg") == [("train-genai", "deny")]
    assert in_robots(text, "/b/a.jpg?w=1") == []
    (said,) = read_robots(parse(text.encode()), "tamis", f"{HOST}/x.png")
    assert (said.value, said.flag, said.raw) == ("unknown", "malformed_reservation", "Content-Usage: /x Train-AI=n")


@settings(deadline=None)
@given(st.text(max_size=200), st.binary(max_size=200))
def test_nothing_makes_it_raise(line: str, value: bytes) -> None:
    assert all(said.value != "allow" or "y" in line for said in read_header([line]))
    read_robots(parse(b"User-agent: *\nContent-Usage: " + value), "tamis", f"{HOST}/a")
