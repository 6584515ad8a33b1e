"""Evaluate robots.txt (RFC 9309): bytes in, a verdict with the line that decided out.

Where the RFC is silent or forbids, a lenient reading is taken only where it can deny more (misspelt Disallow, a missing
colon or leading slash), and for names (digits and dots in product tokens: `img2dataset` is not a legal one).
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LIMIT_BYTES = 500 * 1024  # RFC 9309 §2.5: no parsing limit below this
_RAW_CHARS = 1000  # of a deciding line that is kept as evidence

_TOKEN = re.compile(rb"[A-Za-z0-9_.-]*")
_KEYS = {b"user-agent": "agent", b"useragent": "agent", b"user agent": "agent", b"allow": "allow"} | dict.fromkeys(
    b"disallow dissallow dissalow disalow diasllow disallaw".split(), "disallow"
)

_RECORD_KEY = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,39}")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# A literal * or $ has only its escaped form here, so that both spellings are equal and neither is special.
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?#\[\]@!&'()+,;=]")
_RESERVED_ESCAPE = re.compile(rb"%(3A|2F|3F|23|5B|5D|40|21|26|27|28|29|2B|2C|3B|3D)")
_AUTHORITY = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*|[^/?#]*")


def _escape(match: re.Match[bytes]) -> bytes:
    octet = int(match[1], 16) if match[1] else match[0][0]
    return bytes((octet,)) if match[1] and octet in _UNRESERVED else b"%%%02X" % octet


def _normal(octets: bytes) -> bytes:
    """Bring octets to the one form in which they are compared (RFC 9309 §2.2.2, RFC 3986 §6.2.2)."""
    return _ESCAPE.sub(_escape, octets)


def _unescape_reserved(octets: bytes) -> bytes:
    return _RESERVED_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), octets)


def target_octets(url: str | bytes) -> bytes:
    """Cut path and query out of a URL, normalised for matching; never raises."""
    octets = url.encode("utf-8", "surrogatepass") if isinstance(url, str) else url
    authority = _AUTHORITY.match(octets)
    path = octets[authority.end() if authority else 0 :].partition(b"#")[0]
    return _normal(path if path.startswith(b"/") else b"/" + path)


def _other_query_form(target: bytes) -> bytes:
    """Unescape the reserved characters of a query: the RFC and its implementations differ on them."""
    path, mark, query = target.partition(b"?")
    return path + mark + _unescape_reserved(query)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path pattern with `*` and a trailing `$`, compiled for search without backtracking."""

    prefix: bytes
    pieces: tuple[bytes, ...]  # found in this order behind the prefix
    anchored: bool
    octets: int

    def matches(self, target: bytes) -> bool:
        """Match from the first octet on, taking each piece at its earliest place: linear for any pattern."""
        if not target.startswith(self.prefix):
            return False
        if not self.pieces:
            return not self.anchored or len(target) == len(self.prefix)
        at = len(self.prefix)
        floating = self.pieces[:-1] if self.anchored else self.pieces
        for piece in floating:
            at = target.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return not self.anchored or (target.endswith(self.pieces[-1]) and at + len(self.pieces[-1]) <= len(target))


def compile_pattern(raw: bytes, *, other_query_form: bool = False) -> Pattern:
    """Compile a pattern; `octets` counts its normalised length, specials included, as the RFC's specificity."""
    anchored = raw.endswith(b"$")
    pieces = [_normal(piece) for piece in (raw[:-1] if anchored else raw).split(b"*")]
    octets = sum(map(len, pieces)) + len(pieces) - 1 + anchored
    if other_query_form:  # "*" is never escaped by it, so that the pieces can be joined and split again
        pieces = _other_query_form(b"*".join(pieces)).split(b"*")
    if len(pieces) > 1 and not pieces[-1]:
        anchored = False  # `…*$` and `…*` end anywhere
    return Pattern(pieces[0], tuple(piece for piece in pieces[1:] if piece), anchored, octets)


class Record(NamedTuple):
    """One line that is neither user-agent, allow nor disallow; what it means is for others to say."""

    key: str  # lower-case
    value: bytes
    number: int  # of its line, 1-based
    raw: str
    apart: bool  # a blank line stands between it and its group


class Verdict(NamedTuple):
    """Say whether a fetch is allowed, and by which line (1-based; empty and None where no rule matched)."""

    allowed: bool
    rule: str
    line: int | None


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: Pattern
    allow: bool
    line: int
    raw: bytes

    @property
    def rank(self) -> tuple[int, int, int]:
        """Order rules: most octets, then Allow (RFC 9309 §2.2.2), then the first line, so that evidence is stable."""
        return self.pattern.octets, self.allow, -self.line


def _grams(pattern: Pattern) -> set[bytes]:
    """List substrings of up to three octets that any matching target must hold."""
    return {piece[i : i + 3] for piece in (pattern.prefix, *pattern.pieces) for i in range(max(1, len(piece) - 2))}


class _Matcher:
    """Find the winning rule without trying them all: prefixes by dictionary, the others by their rarest gram."""

    def __init__(self, rules: Iterable[_Rule]) -> None:
        self._by_prefix: dict[bytes, _Rule] = {}
        wild: dict[tuple[Pattern, bool], _Rule] = {}
        for rule in rules:
            if rule.pattern.pieces or rule.pattern.anchored:
                wild.setdefault((rule.pattern, rule.allow), rule)
                continue
            held = self._by_prefix.get(rule.pattern.prefix)
            if held is None or rule.rank > held.rank:
                self._by_prefix[rule.pattern.prefix] = rule
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})
        frequency = Counter(gram for rule in wild.values() for gram in _grams(rule.pattern))
        self._by_gram: dict[bytes, list[_Rule]] = {}
        for rule in sorted(wild.values(), key=lambda rule: rule.rank, reverse=True):
            rarest = min(_grams(rule.pattern), key=lambda gram: (frequency[gram], -len(gram), gram))
            self._by_gram.setdefault(rarest, []).append(rule)
        self._gram_lengths = sorted({len(gram) for gram in self._by_gram})

    def best(self, target: bytes) -> _Rule | None:
        best: _Rule | None = None
        best_rank = (-1, 0, 0)
        for length in self._lengths:
            if length > len(target):
                break
            rule = self._by_prefix.get(target[:length])
            if rule is not None and rule.rank > best_rank:
                best, best_rank = rule, rule.rank
        for length in self._gram_lengths:
            for gram in self._by_gram.keys() & {target[i : i + length] for i in range(len(target) - length + 1)}:
                for rule in self._by_gram[gram]:
                    if rule.rank <= best_rank:
                        break
                    if rule.pattern.matches(target):
                        best, best_rank = rule, rule.rank
                        break
        return best


class _Line(NamedTuple):
    path: bytes
    allow: bool
    number: int
    raw: bytes

    def rule(self, *, other_query_form: bool = False) -> _Rule:
        pattern = compile_pattern(self.path, other_query_form=other_query_form)
        return _Rule(pattern, self.allow, self.number, self.raw)


class _Group(NamedTuple):
    plain: _Matcher
    other: _Matcher  # its patterns in their other query form
    differs: bool


def _compile(lines: Sequence[_Line]) -> _Group:
    plain = _Matcher(line.rule() for line in lines)
    if not any(b"?" in line.path and b"%" in line.path for line in lines):
        return _Group(plain, plain, False)
    return _Group(plain, _Matcher(line.rule(other_query_form=True) for line in lines), True)


@dataclass(frozen=True)
class Robots:
    """A parsed robots.txt; `encoding` is "utf-8" unless it was something else, `truncated` if not all was read."""

    sections: tuple[tuple[_Line, ...], ...]
    groups: Mapping[str, tuple[int, ...]]  # product token, lower-case, or "*" -> its sections, merged (§2.2.1)
    truncated: bool
    encoding: str
    records: tuple[tuple[int, Record], ...] = ()  # (section, or -1 before any group; record), in the order of the file
    _compiled: dict[tuple[int, ...], _Group] = field(default_factory=dict, repr=False, compare=False)

    def scope(self, token: str) -> str:
        """Return whose group speaks to this token: its own, or everybody's ("*")."""
        return token if token.strip().lower() in self.groups else "*"

    def sections_of(self, token: str) -> tuple[int, ...]:
        """Return the sections that make up the token's group; everybody's where it has none of its own."""
        return self.groups.get(token.strip().lower(), self.groups.get("*", ()))

    def rules_of(self, sections: Iterable[int]) -> tuple[tuple[bytes, bool], ...]:
        """Return (path, allowed) of the sections' rules, so that equal groups can be told."""
        return tuple((line.path, line.allow) for section in sections for line in self.sections[section])

    def said(self, token: str, key: str) -> list[Record]:
        """Return the records of one key in the token's group; records do not split groups (§2.2.4)."""
        sections = set(self.sections_of(token))
        return [record for section, record in self.records if section in sections and record.key == key]

    def _group(self, token: str) -> _Group:
        chosen = self.sections_of(token)
        if chosen not in self._compiled:
            self._compiled[chosen] = _compile([line for section in chosen for line in self.sections[section]])
        return self._compiled[chosen]

    def verdict(self, url: str | bytes, token: str) -> Verdict:
        """Decide for a URL and one bare product token (never a whole user-agent string)."""
        target = target_octets(url)
        if target.partition(b"?")[0] == b"/robots.txt":
            return Verdict(True, "", None)
        group = self._group(token)
        rule = group.plain.best(target)
        if rule is None or rule.allow:  # deny if either reading of the query does
            other_target = _other_query_form(target)
            if group.differs or other_target != target:
                other = group.other.best(other_target)
                rule = other if other is not None and not other.allow else rule
        if rule is None:
            return Verdict(True, "", None)
        return Verdict(rule.allow, rule.raw.decode("utf-8", "replace")[:_RAW_CHARS], rule.line)


def _decode(body: bytes) -> tuple[bytes, str]:
    """Bring a file to UTF-8 octets without a byte order mark; UTF-16 is read, since its meaning is plain.

    NUL octets mean nothing in a text and are passed over: a line must not lose its no to one that slipped in.
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if body.startswith(mark):
            return body[2:].decode(encoding, "ignore").encode(), encoding
    if len(body) >= 8 and body[0] and not any(body[1:8:2]):
        return body.decode("utf-16-le", "ignore").encode(), "utf-16-le"
    if len(body) >= 8 and body[1] and not any(body[0:8:2]):
        return body.decode("utf-16-be", "ignore").encode(), "utf-16-be"
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF8[:2], codecs.BOM_UTF8[:1]):  # a mark cut short is skipped, too
        if body.startswith(mark):
            body = body[len(mark) :]
            break
    return body.replace(b"\0", b""), "utf-8"


def _record(line: bytes) -> tuple[str, bytes]:
    """Split a line into its kind ("agent", "allow", "disallow" or "") and its value."""
    text = line.partition(b"#")[0]
    head, colon, value = text.partition(b":")
    kind = _KEYS.get(head.strip().lower(), "") if colon else ""
    if kind:
        return kind, value.strip()
    words = text.split()
    if len(words) == 2 and _KEYS.get(words[0].lower()) in ("agent", "disallow"):  # the colon was forgotten
        return _KEYS[words[0].lower()], words[1]
    return "", b""


def _other_record(line: bytes, number: int, apart: bool) -> Record | None:
    head, colon, value = line.partition(b"#")[0].partition(b":")
    if not colon or not _RECORD_KEY.fullmatch(head.strip()):
        return None
    raw = line.strip().decode("utf-8", "replace")[:_RAW_CHARS]
    return Record(head.strip().lower().decode(), value.strip(), number, raw, apart)


def _token(value: bytes) -> str:
    if value[:1] == b"*" and not value[1:2].strip():
        return "*"
    match = _TOKEN.match(value)
    return match[0].decode().lower() if match else ""


def parse(body: bytes, *, truncated: bool = False) -> Robots:
    """Parse a robots.txt body, of any size and content; `truncated` says that the fetcher had cut it already."""
    truncated = truncated or len(body) > LIMIT_BYTES
    text, encoding = _decode(body[:LIMIT_BYTES])
    if truncated:  # half a rule may allow or deny far more than the whole
        text = text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
    sections: list[list[_Line]] = []
    groups: dict[str, dict[int, None]] = {}
    records: list[tuple[int, Record]] = []
    apart = False
    naming = False  # in the run of user-agent lines at the head of a group
    for number, line in enumerate(text.splitlines(), start=1):
        kind, value = _record(line)
        apart = not kind and (apart or not line.strip())
        if kind == "agent":
            if not naming:
                sections.append([])
            naming = True
            groups.setdefault(_token(value), {})[len(sections) - 1] = None
        elif kind and sections:  # rules before any user-agent line belong to nobody
            naming = False
            if kind == "disallow" and value[:1] not in (b"", b"/", b"*"):
                value = b"/" + value
            if value:
                sections[-1].append(_Line(value, kind == "allow", number, line.strip()))
        elif not kind and (record := _other_record(line, number, apart)) is not None:
            records.append((len(sections) - 1, record))
    groups.pop("", None)  # names without a legal token
    merged = {token: tuple(found) for token, found in groups.items()}
    return Robots(tuple(map(tuple, sections)), merged, truncated, encoding, tuple(records))
