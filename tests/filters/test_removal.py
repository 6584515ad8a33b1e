"""The one form in which each kind of request is compared (optout.md §7.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import removal
from filters.urls import canonical_url

SEED = b"s" * 32
FORMS = [
    # variants of scheme and www. are one resource; the rest of the URL is as canonical_url has it
    ("url", "https://www.Example.com/a%7eb.jpg?y=1&x=2#top", "example.com/a~b.jpg?y=1&x=2"),
    ("url", "http://example.com:80/a/../b.jpg", "example.com/b.jpg"),
    ("url", "example.com/b.jpg", "example.com/b.jpg"),
    ("url", "https://user:pw@example.com/b.jpg", "example.com/b.jpg"),
    ("url", "https://example.com:8443/b.jpg", "example.com:8443/b.jpg"),
    ("url", "https://MÜNCHEN.de/ü.jpg", "xn--mnchen-3ya.de/%C3%BC.jpg"),
    ("url", " https://example.com/ ", "example.com/"),
    ("url", "https://wwwx.example.com/", "wwwx.example.com/"),
    ("url", "javascript:alert(1)", None),
    ("url", "jane@example.com", None),
    ("url", "data:image/png;base64,AAAA", None),
    ("url", "ftp://example.com/a.jpg", None),
    ("url", "", None),
    ("url_prefix", "https://www.example.com/holiday/", "example.com/holiday/"),
    ("url_prefix", "jane@example.com", None),
    ("host", "WWW.Pics.Example.com", "pics.example.com"),
    ("host", "https://pics.example.com/a.jpg", "pics.example.com"),
    ("host", "pics.example.com.", "pics.example.com"),
    ("host", "*.example.com", None),
    ("host", "127.1", "127.0.0.1"),
    ("domain", "pics.example.co.uk", "example.co.uk"),
    ("domain", "*.example.co.uk", "example.co.uk"),
    ("domain", ".example.co.uk", "example.co.uk"),
    ("domain", "https://a.b.münchen.de/x", "xn--mnchen-3ya.de"),
    ("domain", "https://www.gov.uk/x", "www.gov.uk"),
    ("domain", "www.example.co.uk", "example.co.uk"),
    ("domain", "jane.github.io", "jane.github.io"),  # a private suffix: every user is a domain of their own
    ("domain", "jane@mail.example", None),
    ("domain", "not a domain", None),
    ("sha256", "AB" * 32, b"\xab" * 32),
    ("sha256", "ab" * 31, None),
    ("md5", " 0f" + "1e" * 15 + "\n", b"\x0f" + b"\x1e" * 15),
    ("pdq", "1" * 64, b"\x11" * 32),
    ("phash64", "1" * 16, b"\x11" * 8),
    ("uid", "1" * 32, b"\x11" * 16),
    ("md5", "zz" * 16, None),
    ("md5", "", None),
    ("text", "  Jane   DOE! ", "jane doe"),
    ("text", "“Straße”", "strasse"),
    ("text", "O’Neil-Smith", "o’neil-smith"),
    ("text", "ｊａｎｅ", "jane"),
    ("text", "?!", None),
    ("creator", " ", None),
]


@pytest.mark.parametrize(("kind", "value", "form"), FORMS)
def test_a_value_has_one_form(kind: str, value: str, form: str | bytes | None) -> None:
    assert removal.normal(kind, value) == form


def test_an_unknown_kind_is_a_bug_and_says_so() -> None:
    with pytest.raises(ValueError, match="unknown kind 'face'"):
        removal.normal("face", "x")


def test_digests_are_keyed_and_kinds_do_not_meet() -> None:
    kinds = {removal.digest(SEED, kind, "example.com/") for kind in removal.NAMED}
    assert len(kinds) == len(removal.NAMED)
    assert {len(digest) for digest in kinds} == {16}
    assert removal.digest(SEED, "url", "a") != removal.digest(b"t" * 32, "url", "a")
    assert removal.digest(SEED, "url", "\ud800")  # a lone surrogate is no trouble


def test_a_prefix_is_listed_with_its_host_and_length_and_a_phrase_with_its_words() -> None:
    own, host, length = removal.entries(SEED, "url_prefix", "example.com:8080/holiday/")
    assert own == ("url_prefix", removal.digest(SEED, "url_prefix", "example.com:8080/holiday/"), 25)
    assert host == ("prefix_host", removal.digest(SEED, "prefix_host", "example.com:8080"), 0)
    assert length == ("prefix_length", removal.digest(SEED, "prefix_length", "example.com:8080 25"), 25)
    assert removal.entries(SEED, "text", "jane q doe")[0][2] == 3
    assert removal.entries(SEED, "domain", "example.com") == [
        ("domain", removal.digest(SEED, "domain", "example.com"), 0)
    ]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=20))
def test_many_url_digests_are_those_of_one_by_one(names: list[str]) -> None:
    urls = [
        url for name in names for www in ("", "www.") for url in [canonical_url(f"http://{www}a.example/{name}")] if url
    ]
    single = b"".join(removal.digest(SEED, "url", removal.url_key(url)) for url in urls)
    assert removal.url_digests(SEED, [url.encode() for url in urls]) == single
    secure = [url.replace("http://", "https://", 1).encode() for url in urls]
    assert removal.url_digests(SEED, secure) == single


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_masked_hashes_keep_their_distances_and_show_nothing(one: bytes, other: bytes) -> None:
    def distance(a: bytes, b: bytes) -> int:
        return sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))

    masked = [removal.listed_hash(SEED, "pdq", value) for value in (one, other)]
    assert distance(*masked) == distance(one, other)
    assert masked[0] != one
    assert removal.listed_hash(SEED, "sha256", one) == removal.digest(SEED, "sha256", one.hex())
    assert removal.listed_hash(SEED, "uid", one[:16]) == one[:16]
