"""Bring a page's bytes to UTF-8: byte order mark, HTTP header, meta, then detection. Never raises."""

import codecs
import re

_PRESCAN_BYTES = 4096  # browsers look at 1,024; sites exist that declare later, and looking further costs nothing
_SAMPLE_BYTES = 16_384
_META = re.compile(rb"<meta\b[^>]{0,400}?\bcharset\s*=\s*[\"']?\s*([A-Za-z0-9_:.+-]{2,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml\b[^>]{0,200}?\bencoding\s*=\s*[\"']([A-Za-z0-9_:.+-]{2,40})")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Labels that browsers read as a larger code page than the name says (WHATWG Encoding §4.2), under Python's names.
_LABELS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
}
_NOT_FOR_PAGES = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7")
_ALIASES = {"x-sjis": "cp932", "windows-31j": "cp932", "x-gbk": "gb18030", "ks_c_5601-1987": "cp949"} | {
    "ks_c_5601-1989": "cp949",
    "windows-874": "cp874",
    "x-user-defined": "cp1252",
    "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
}


def codec(label: str | None) -> str | None:
    """Return Python's codec for a declared charset, or None for labels nobody knows."""
    name = (label or "").strip().strip("\"'").lower()
    if not name or len(name) > 40:
        return None
    if name in _ALIASES:
        return _ALIASES[name]
    try:
        b"".decode(name)  # also refuses codecs that are none for text
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if found.name in _NOT_FOR_PAGES:
        return None
    return _LABELS.get(found.name, found.name)


def header_charset(content_type: str | None) -> str | None:
    """Return the charset parameter of a Content-Type value."""
    found = re.search(r";\s*charset\s*=\s*\"?([^\s\";,]+)", content_type or "", re.IGNORECASE)
    return found[1] if found else None


def to_utf8(html: bytes, charset: str | None = None) -> bytes:
    """Return the page in valid UTF-8; `charset` is what the HTTP header says. What cannot be read becomes U+FFFD."""
    for mark, name in _BOMS:
        if html.startswith(mark):
            return _transcode(html[len(mark) :], name)
    declared = codec(charset) or _declared(html[:_PRESCAN_BYTES])
    return _transcode(html, declared or "utf-8", guess=declared is None)


def _declared(head: bytes) -> str | None:
    found = _META.search(head) or _XML.match(head)
    name = codec(found[1].decode("ascii")) if found else None
    # a declaration that could be read byte by byte is not in UTF-16 (HTML, "prescan a byte stream")
    return "utf-8" if name and name.startswith("utf-16") else name


def _transcode(html: bytes, name: str, *, guess: bool = False) -> bytes:
    if name == "utf-8":
        try:
            html.decode()
        except UnicodeDecodeError as error:
            if not guess or error.end >= len(html) - 3:  # the limit may have cut a character
                return html.decode("utf-8", "replace").encode()
            name = _detected(html, error.start)
        else:
            return html
    try:
        return html.decode(name, "replace").encode("utf-8", "replace")
    except (UnicodeError, LookupError):  # some codecs raise in spite of "replace"
        return html.decode("cp1252", "replace").encode()


def _detected(html: bytes, at: int) -> str:
    from charset_normalizer import from_bytes  # only pages without a declaration pay for the import

    start = max(0, at - 512)
    best = from_bytes(html[start : start + _SAMPLE_BYTES]).best()
    found = codec(best.encoding) if best is not None else None
    return found if found and found != "utf-8" else "cp1252"
