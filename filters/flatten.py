"""Guard the HTML parser against pages whose tree would cost quadratic time: unclosed tags nested thousands deep.

Lexbor takes 0.6 s for 20,000 nested <div> and four times that for twice as many (measured, selectolax 1.0.2); a page at
the size limit would take hours. Such pages are cut down to the tags that matter, side by side.
"""

import re

_SMALL_BYTES = 32_768
_LONG_TAG_BYTES = 16_384
_MAX_ATTRIBUTES = 3000
_FEW_TAGS = 1500
_MAX_DEPTH = 2500
_MAX_COPIES = 300_000
_TAG = re.compile(rb"<(/?)([A-Za-z][^\s/>]{0,40})")
_LONG_TAG = re.compile(rb"<[A-Za-z](?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+")
_DATA_URL = re.compile(rb"data:[^\s\"'>]*")
_KEPT = re.compile(rb"<(?:img|image|base|meta|link|html|a)\b[^<>]{0,8000}>", re.IGNORECASE)
# Void elements, and those whose next opening tag closes the one before.
_FLAT = frozenset(b"area base br col embed hr img image input link meta param source track wbr a nobr".split())
_FLAT |= frozenset(b"p li dt dd tr td th option html head body".split())
_FORMATTING = frozenset(b"b big code em font i s small strike strong tt u".split())


def is_costly(html: bytes) -> bool:
    """Tell whether parsing could take quadratic time, by depth, by repeated formatting or by a tag's attributes."""
    return _is_deep(html) or (len(html) > _SMALL_BYTES and _has_long_tag(html))


def _has_long_tag(html: bytes) -> bool:
    for match in _LONG_TAG.finditer(html):
        if match.end() - match.start() > _LONG_TAG_BYTES:
            words = _DATA_URL.sub(b"", match[0])
            if len(words.split()) + words.count(b"/") > _MAX_ATTRIBUTES:
                return True
    return False


def _is_deep(html: bytes) -> bool:
    """Tell whether the tree could nest too deep, or grow too large by formatting tags that are reopened everywhere."""
    if html.count(b"<") < _FEW_TAGS:
        return False
    depth = copies = formatting = 0
    opened: dict[bytes, int] = {}
    for closing, tag in _TAG.findall(html):
        name = tag.lower()
        if not closing:
            copies += formatting
        if name in _FLAT:
            continue
        if not closing:
            opened[name] = opened.get(name, 0) + 1
            depth += 1
            formatting += name in _FORMATTING
        elif opened.get(name, 0):
            opened[name] -= 1
            depth -= 1
            formatting -= name in _FORMATTING
        if depth > _MAX_DEPTH or copies > _MAX_COPIES:
            return True
    return False


def flatten(html: bytes) -> bytes:
    """Return the page's pictures, links and metas as one flat page (captions and <picture> are lost)."""
    return b"</a>".join(_KEPT.findall(html))
