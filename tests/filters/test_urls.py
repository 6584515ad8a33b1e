import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.urls import _absolute, canonical_url, host, origin, registrable_domain

BASE = "http://h.example/a/b.html?c#d"


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://h.example", "http://h.example/"),
        ("HTTP://H.Example:80/A", "http://h.example/A"),
        ("https://h.example:443?q", "https://h.example/?q"),
        ("http://h.example:0443/", "http://h.example:443/"),
        ("http://h.example:/", "http://h.example/"),
        ("http://h.example./", "http://h.example/"),
        ("https://user:pass@h.example/", "https://h.example/"),
        ("https://a@b@h.example/", "https://h.example/"),
        ("http://h.example/#frag", "http://h.example/"),
        ("http://h.example/a?#frag", "http://h.example/a?"),
        ("<http://h.example/a b>", "http://h.example/a%20b"),
        (" \x00\thttp://h.example/\n", "http://h.example/"),
        ("ht\ntp://h.ex\tample/a\r\nb", "http://h.example/ab"),
        ("http:\\\\h.example\\a\\b?c\\d", "http://h.example/a/b?c%5Cd"),
        ("http:h.example/a", "http://h.example/a"),
        ("http:////h.example/a", "http://h.example/a"),
        ("http://h.example/a/./b/../c", "http://h.example/a/c"),
        ("http://h.example/../../a/..", "http://h.example/"),
        ("http://h.example/a/%2e%2E/b/.", "http://h.example/b/"),
        ("http://h.example//a//b", "http://h.example//a//b"),
        ("http://h.example/%7ejoe/%41", "http://h.example/~joe/A"),
        ("http://h.example/a%2fb%3f%c3%a9", "http://h.example/a%2Fb%3F%C3%A9"),
        ("http://h.example/100%", "http://h.example/100%25"),
        ("http://h.example/%4%31", "http://h.example/%2541"),
        ("http://h.example/é?ü=ツ", "http://h.example/%C3%A9?%C3%BC=%E3%83%84"),
        ("http://h.example/\ud83d\udca9\ud83d", "http://h.example/%F0%9F%92%A9%EF%BF%BD"),
        ('http://h.example/"<>`{}|^\x7f', "http://h.example/%22%3C%3E%60%7B%7D%7C%5E%7F"),
        ("http://h.example/'?'", "http://h.example/'?%27"),
        ("http://h.example/?a=b&c=d+e?/", "http://h.example/?a=b&c=d+e?/"),
        ("http://a_b.example/-", "http://a_b.example/-"),
    ],
)
def test_urls_have_one_form(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("例え.jp", "xn--r8jz45g.jp"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("ｅｘ。ample", "ex.ample"),
        ("%65x%2Eample", "ex.ample"),
        ("💩.la", "xn--ls8h.la"),
        ("[2001:DB8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
        ("[::]", "[::]"),
        ("[1:0:0:2::]", "[1:0:0:2::]"),
        ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
        ("127.1", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
    ],
)
def test_hosts_have_one_form_however_an_address_is_disguised(name: str, canonical: str) -> None:
    assert canonical_url(f"http://{name}:8080/") == f"http://{canonical}:8080/"


@pytest.mark.parametrize(
    "url",
    [
        *["data:image/png;base64,AA==", "file:///etc/passwd", "javascript:void(0)", "ftp://h.example/", "C:\\a.jpg"],
        *["", " ", "http:", "http://", "https://?", "http://#", "http:///", "<>", "a.png", "//h.example/", "?q", "#f"],
        *["http://a b/", "http://a%00b/", "http://a%2Fb/", "http://a..b/", "http://.a/", "http://\ufffd/"],
        *["http://[::1", "http://[::1%25eth0]/", "http://[1.2.3.4]/", "http://1.2.3.256/", "http://1.2.3.4.5/"],
        *["http://a.1/", "http://08.1/", f"http://{'9' * 5000}/", f"http://h:{'9' * 5000}/", "http://h:٣/"],
        *["http://h.example:65536/", "http://h.example:0/", "http://h.example:8x/", "http://h.example:-1/"],
        *[f"http://{'a' * 64}.example/", f"http://{'a.' * 127}aa/"],
    ],
)
def test_what_is_not_a_usable_http_url_has_none(url: str) -> None:
    assert canonical_url(url) is None


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("", "http://h.example/a/b.html?c"),
        ("#x", "http://h.example/a/b.html?c"),
        ("?x", "http://h.example/a/b.html?x"),
        ("x.png", "http://h.example/a/x.png"),
        ("./x.png", "http://h.example/a/x.png"),
        ("../../x.png", "http://h.example/x.png"),
        ("/x.png", "http://h.example/x.png"),
        ("\\x.png", "http://h.example/x.png"),
        ("//i.example/x.png", "http://i.example/x.png"),
        ("\\/i.example/x.png", "http://i.example/x.png"),
        (" x y.png\n", "http://h.example/a/x%20y.png"),
        ("x/y:z.png", "http://h.example/a/x/y:z.png"),
        ("http:x.png", "http://h.example/a/x.png"),
        ("http:/x.png", "http://h.example/x.png"),
        ("https:i.example/x.png", "https://i.example/x.png"),
        ("http://i.example/x.png", "http://i.example/x.png"),
        ("x:y.png", None),
        ("data:,", None),
    ],
)
def test_references_are_resolved_against_their_base(url: str, canonical: str | None) -> None:
    assert canonical_url(url, BASE) == canonical


@pytest.mark.parametrize("base", [None, "", "ftp://h.example/", "x", "http://a b/"])
def test_a_base_of_no_use_leaves_absolute_urls_alone_and_relative_ones_without_form(base: str | None) -> None:
    assert canonical_url("http://i.example/x", base) == "http://i.example/x"
    assert canonical_url("x", base) is None


FRAGMENTS = [
    *["http:", "https:", "/", "//", "\\", "?", "#", "@", ":", "..", ".", "%2e", "%", "%4", "41", "%c3", "é", "'", "|"],
    *["例え.jp", "。", "h.example", "EX", "[::1]", "127.1", "0x7f", "80", "443", " ", "\t", "<", ">", "xn--", "\xad"],
    "\ud800",
]
PIECES = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=10).map("".join)
URLS = st.text() | PIECES | PIECES.map("http://h.example/".__add__) | PIECES.map("https://".__add__)


@settings(max_examples=1000, deadline=None)
@given(URLS, st.none() | st.just(BASE) | URLS)
@example("http://h.example/%2%35", None)
@example("http://h.example/a/%2e./", None)
@example("<<http://h.example/>>", BASE)
def test_any_string_has_a_form_or_none_and_a_form_is_its_own(url: str, base: str | None) -> None:
    canonical = canonical_url(url, base)
    if canonical is None:
        assert origin(url) == "" or base is not None
        return
    assert canonical.isascii()
    assert canonical_url(canonical) == canonical
    assert canonical_url(canonical, base) == canonical
    assert canonical.startswith(origin(canonical) + "/")
    assert host(canonical) in origin(canonical)
    assert registrable_domain(host(canonical))


LABELS = st.text(alphabet="ax0_-", min_size=1, max_size=64)
TAILS = st.lists(st.sampled_from(["a", "/", "..", "?", "%20", "%C3", "+", "&", "[", "#", "~"])).map("".join)


@settings(max_examples=500, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=5).map(".".join), TAILS)
@example(".".join(["a" * 63] * 4), "/")
def test_the_fast_path_gives_what_the_full_one_gives(name: str, tail: str) -> None:
    url = f"http://{name}/{tail}"
    assert canonical_url(url) == _absolute(url, "http", len("http:"))
    assert canonical_url(f"http://{name}") == _absolute(f"http://{name}", "http", len("http:"))


@settings(deadline=None)
@given(st.text())
def test_no_string_makes_the_readers_of_parts_raise(text: str) -> None:
    assert isinstance(origin(text) + host(text) + registrable_domain(text), str)


@pytest.mark.parametrize(
    ("url", "origin_is", "host_is"),
    [
        ("HTTPS://H.example:443/a?b", "https://h.example", "h.example"),
        ("http://h.example:8080", "http://h.example:8080", "h.example"),
        ("http://[::1]:80/", "http://[::1]", "::1"),
        ("http://[::1]:81/", "http://[::1]:81", "::1"),
        ("http://h.example?a:b@c", "http://h.example", "h.example"),
        ("data:,", "", ""),
    ],
)
def test_origin_and_host_are_cut_from_the_canonical_form(url: str, origin_is: str, host_is: str) -> None:
    assert (origin(url), host(url)) == (origin_is, host_is)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a.b.example.co.uk", "example.co.uk"),
        ("A.Example.COM.", "example.com"),
        ("somebody.github.io", "somebody.github.io"),
        ("x.somebody.github.io", "somebody.github.io"),
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com"),
        ("a.例え.jp", "xn--r8jz45g.jp"),
        ("a.b.c.test", "c.test"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("", ""),
    ],
)
def test_the_registrable_domain_is_one_label_below_the_public_suffix(name: str, domain: str) -> None:
    assert registrable_domain(name) == domain
