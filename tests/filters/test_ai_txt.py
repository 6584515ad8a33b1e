import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.ai_txt import parse
from filters.trust_txt import parse as parse_trust

SPAWNING = b"""\
# Spawning AI
# Prevent datasets from using the following file types

User-Agent: *
Disallow: *.jpg
Disallow: *.jpeg
Allow: *.svg
Allow: *.txt
"""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/a/b.jpg", "deny"),
        ("/a/B.JPG", "deny"),
        ("/a/b.jpg?w=1", "deny"),
        ("/a.svg", "allow"),
        ("/a.png", None),
        ("/", None),
    ],
)
def test_rules_are_about_file_types_without_case(path: str, value: str | None) -> None:
    rules = parse(SPAWNING)
    assert rules is not None
    said = rules.statement(f"https://A.example{path}", "tamis")
    assert (said.value if said else None) == value
    assert said is None or (said.category, said.raw) == (
        "train",
        "Disallow: *.jpg" if value == "deny" else "Allow: *.svg",
    )


@pytest.mark.parametrize("last", [b"Disallow: /", b"Disallow: *", b"Disallow: /\nDisallow: *"])
def test_the_last_line_closes_the_rest_but_a_permitted_type_stays_permitted(last: bytes) -> None:
    rules = parse(SPAWNING + last)
    assert rules is not None
    said = {path: rules.statement(f"https://a.example{path}", "tamis") for path in ("/x.png", "/x.svg", "/")}
    assert {path: s.value for path, s in said.items() if s} == {"/x.png": "deny", "/x.svg": "allow", "/": "deny"}


def test_a_group_for_our_token_is_ours() -> None:
    rules = parse(b"User-agent: Tamis\nDisallow: *.png\n" + SPAWNING)
    assert rules is not None
    assert rules.statement("https://a.example/x.jpg", "tamis") is None
    assert (rules.scope("tamis"), rules.scope("other")) == ("tamis", "*")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Not found</title>",
        b"# About us\n\nname: A site\ndescription: We use AI\n",  # the Markdown format of the same name
        b"User-Agent: *\n",
        b"Disallow: *.jpg\n",
        b'{"version": "1.0", "policies": []}',
    ],
)
def test_other_files_of_that_name_are_not_taken_for_one(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    "change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n"), lambda b: b.replace(b"\n", b"\r")]
)
def test_marks_and_line_ends_do_not_matter(change: object) -> None:
    rules = parse(change(SPAWNING))  # type: ignore[operator]
    assert rules is not None
    said = rules.statement("https://a.example/a.jpg", "tamis")
    assert said is not None
    assert said.raw == "Disallow: *.jpg"


@pytest.mark.parametrize(
    ("body", "value", "flag"),
    [
        (b"member=https://a.example\ndatatrainingallowed=no\n", "deny", ""),
        (b"datatrainingallowed=yes", "allow", ""),
        (b"\xef\xbb\xbf DataTrainingAllowed = NO # ours\r\ncontact=x", "deny", ""),
        (b"datatrainingallowed=yes\ndatatrainingallowed=no\n", "deny", ""),
        (b"datatrainingallowed=yes\ndatatrainingallowed=perhaps\n", "unknown", "malformed"),
        (b"datatrainingallowed=false", "unknown", "malformed_reservation"),
        (b"datatrainingallowed=", "unknown", "malformed"),
        (b"# datatrainingallowed=no\n", None, ""),
        (b"<p>datatrainingallowed=no</p>", None, ""),
        (b"", None, ""),
    ],
)
def test_trust_txt_has_one_line_on_training_and_a_no_goes_first(body: bytes, value: str | None, flag: str) -> None:
    said = parse_trust(body)
    assert (said.value if said else None) == value
    assert said is None or (said.category, said.flag) == ("train", flag)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_them_raise(body: bytes) -> None:
    parse_trust(b"datatrainingallowed=" + body)
    rules = parse(b"User-agent: *\nDisallow: " + body)
    assert rules is not None
    rules.statement("https://a.example/a.jpg", "tamis")
