"""Bring URLs to one form (WHATWG parsing, RFC 3986 §6.2 normal forms), so that equal resources have equal names.

Credentials are dropped: they are not part of the resource's name, and we do not store strangers' passwords.
"""

import ipaddress
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import idna

if TYPE_CHECKING:
    from tldextract import TLDExtract

_PORTS = {"http": "80", "https": "443"}
_CHARS = r"A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]"  # unreserved and reserved without ? and #; WHATWG leaves brackets alone
_QUERY_CHARS = _CHARS.replace("'", "") + "?"  # WHATWG's special-query set escapes the apostrophe
_ESCAPED = r"%(?:20|[89A-F][0-9A-F])"  # cannot be an unreserved character
# Already in its form but for a missing path or a fragment. Possessive, so that no input makes it backtrack.
_CANONICAL = re.compile(
    r"(?P<origin>https?://(?:[a-z0-9_][a-z0-9_-]{0,62}\.)*+[a-z][a-z0-9_-]{0,62})"
    rf"(?P<path>(?:/(?!\.)[{_CHARS.replace('/', '')}]*+(?:{_ESCAPED}[{_CHARS.replace('/', '')}]*+)*+)*+)"
    rf"(?P<query>(?:\?[{_QUERY_CHARS}]*+(?:{_ESCAPED}[{_QUERY_CHARS}]*+)*+)?)(?:#.*+)?"
)
_IN_PATH = re.compile(rf"%(?:[0-9A-Fa-f]{{2}})?|[^{_CHARS}%]+")
_IN_QUERY = re.compile(rf"%(?:[0-9A-Fa-f]{{2}})?|[^{_QUERY_CHARS}%]+")
_STRIPPED = "".join(map(chr, range(33)))  # C0 controls and space, at both ends
_INVISIBLE = re.compile(r"[\t\n\r]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SLASHES = re.compile(r"[/\\]*")
_AUTHORITY = re.compile(r"[^/\\?#]*")
_ORIGIN = re.compile(r"https?://(\[[^\]]*\]|[^/:?#]*)(?::\d+)?")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_ZERO_GROUPS = re.compile(r"(?<![^:])0(?::0)+(?![^:])")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


def _escape(match: re.Match[str]) -> str:
    text = match[0]
    if len(text) == 3 and text[0] == "%":
        octet = chr(int(text[1:], 16))
        return octet if _UNRESERVED.fullmatch(octet) else text.upper()
    return "".join(f"%{octet:02X}" for octet in text.encode())  # a stray "%" becomes "%25"


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _ipv4(labels: list[str]) -> str | None:
    """Read a numeric host as inet_aton and browsers do (0x7f.1, 2130706433), so that no spelling hides an address."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        return None
    try:
        numbers = [
            int(label[2:] or "0", 16) if label[:2] == "0x" else int(label, 8 if label[0] == "0" else 10)
            for label in labels
        ]
    except ValueError:  # an 8 or 9 in an octal number
        return None
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    octets = bytes(heads) + last.to_bytes(4 - len(heads), "big")
    return ".".join(map(str, octets))


def _ipv6(text: str) -> str | None:
    """Compress an address as RFC 5952 does, mapped ones in hexadecimal as in WHATWG URL."""
    try:
        packed = ipaddress.IPv6Address(text).packed
    except ValueError:
        return None
    if "%" in text:  # a zone is this machine's affair
        return None
    groups = [f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 16, 2)]
    joined = ":".join(groups)
    longest = max(_ZERO_GROUPS.finditer(joined), key=lambda run: run.end() - run.start(), default=None)
    if longest is None:
        return f"[{joined}]"
    return f"[{joined[: longest.start()].rstrip(':')}::{joined[longest.end() :].lstrip(':')}]"


def _host(raw: str) -> str | None:
    """Bring a host to lower-case ASCII: punycode by UTS 46, IPv4 dotted, IPv6 in brackets; None if unusable."""
    if len(raw) > 2048:
        return None
    if raw.startswith("["):
        return _ipv6(raw[1:-1]) if raw.endswith("]") else None
    name = unquote_to_bytes(raw).decode("utf-8", "replace") if "%" in raw else raw
    try:
        name = name.lower() if name.isascii() else idna.uts46_remap(name, std3_rules=False)
    except idna.IDNAError:
        return None
    labels = name.removesuffix(".").split(".")
    for i, label in enumerate(labels):
        if not label.isascii() and len(label) <= 63 and not label.startswith("xn--"):
            labels[i] = "xn--" + label.encode("punycode").decode()
    if not all(_LABEL.fullmatch(label) for label in labels) or sum(map(len, labels)) + len(labels) - 1 > 253:
        return None
    if labels[-1].isdecimal() or _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    return ".".join(labels)


def _host_port(authority: str, scheme: str) -> str | None:
    """Normalise an authority: credentials, the default port and a final dot go."""
    place = authority.rpartition("@")[2]
    raw_host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        raw_host, port = place, ""
    host_name = _host(raw_host)
    if host_name is None or not (port.isascii() and (port.isdecimal() or not port)):
        return None
    number = port.lstrip("0")
    if port and (not number or len(number) > 5 or int(number) > 65535):
        return None
    return host_name if number in ("", _PORTS[scheme]) else f"{host_name}:{number}"


def _absolute(url: str, scheme: str, start: int) -> str | None:
    """Normalise a URL whose scheme ends at `start`."""
    slashes = _SLASHES.match(url, start)
    authority = _AUTHORITY.match(url, slashes.end() if slashes else start)
    if authority is None:
        return None
    place = _host_port(authority[0], scheme)
    if place is None:
        return None
    path, mark, query = url[authority.end() :].partition("#")[0].partition("?")
    path = _IN_PATH.sub(_escape, path.replace("\\", "/"))
    if "/." in path:
        path = _remove_dot_segments(path)
    return f"{scheme}://{place}{path or '/'}{mark}{_IN_QUERY.sub(_escape, query)}"


@lru_cache(maxsize=1024)
def _base_parts(base: str) -> tuple[str, str, str, str] | None:
    """Cut a base into scheme, origin, canonical URL without query, canonical URL."""
    url = canonical_url(base)
    at = _ORIGIN.match(url) if url else None
    if url is None or at is None:
        return None
    return url.partition(":")[0], at[0], url.partition("?")[0], url


def _resolve(reference: str, scheme: str, base_origin: str, bare: str, whole: str) -> str:
    """Join a reference without a scheme to its base, by text alone; the result is not yet normal."""
    slashes = _SLASHES.match(reference)
    leading = slashes.end() if slashes else 0
    if leading >= 2:
        return f"{scheme}:{reference}"
    if leading == 1:
        return base_origin + reference
    if not reference or reference[0] == "#":
        return whole
    if reference[0] == "?":
        return bare + reference
    return bare[: bare.rindex("/") + 1] + reference


def canonical_url(url: str, base: str | None = None) -> str | None:
    """Return the one absolute http(s) form of a URL, or None if it has none; never raises, idempotent."""
    match = _CANONICAL.fullmatch(url)
    if match is None:
        text = _INVISIBLE.sub("", url.strip(_STRIPPED))
        if text[:1] == "<" and text[-1:] == ">":  # wget's WARC-Target-URI
            text = text[1:-1].strip(_STRIPPED)
        if _SURROGATE.search(text):  # pairs become their character, lone ones U+FFFD, as in a browser
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        named = _SCHEME.match(text)
        scheme = named[1].lower() if named else ""
        if named and scheme not in _PORTS:
            return None
        parts = _base_parts(base) if base else None
        if named and (parts is None or parts[0] != scheme or text.startswith("//", named.end())):
            return _absolute(text, scheme, named.end())
        # `http:a.png` on an http page is a relative reference (WHATWG, "special relative or authority state")
        return canonical_url(_resolve(text[named.end() if named else 0 :], *parts)) if parts else None
    origin_end = match.end("origin")
    if origin_end > 253 + 7:  # rarely right, so let the exact rule see it
        return _absolute(url, url.partition(":")[0], url.index(":") + 1)
    path, query = match["path"], match["query"]
    return url if path and match.end("query") == len(url) else f"{match['origin']}{path or '/'}{query}"


def origin(url: str) -> str:
    """Return "scheme://host[:port]" without a default port; "" for what has no canonical form."""
    match = _ORIGIN.match(canonical_url(url) or "")
    return match[0] if match else ""


def host(url: str) -> str:
    """Return the canonical host without port or brackets; "" for what has no canonical form."""
    match = _ORIGIN.match(canonical_url(url) or "")
    return match[1].strip("[]") if match else ""


@cache
def _extractor() -> "TLDExtract":
    from tldextract import TLDExtract  # takes 0.4 s to import

    return TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)


@lru_cache(maxsize=65536)
def registrable_domain(name: str) -> str:
    """Return the domain one label below the public suffix (private suffixes count); addresses return themselves.

    Under a top level that the bundled list does not know, the last two labels (publicsuffix.org, default rule `*`).
    """
    known = _host(name) or _host(f"[{name}]")
    if known is None:
        return name
    if known.startswith("["):
        return known[1:-1]
    labels = known.split(".")
    if labels[-1].isdecimal():
        return known
    found = _extractor().extract_str(known)
    if found.suffix:
        return f"{found.domain}.{found.suffix}" if found.domain else known
    return ".".join(labels[-2:])
