"""Read X-Robots-Tag headers and robots meta tags (optout.md §2): which directives hold for one crawler."""

import re
from collections.abc import Collection, Iterator, Sequence

DISALLOWED = ("noai", "noimageai", "noindex", "noimageindex")

_HEADER_END = re.compile(r"\r?\n(?![ \t])")  # a line break before blank space only folds the line (RFC 9112 §5.2)
_SEPARATOR = re.compile(r"[,;]")
_AGENT = re.compile(r"[a-z0-9_.*-]*[a-z*][a-z0-9_.*-]*", re.ASCII)
_VALUED = re.compile(r"(?:max|unavailable)[-_][a-z_-]+")  # unavailable_after, max-snippet, max-image-preview, …
_BARE = frozenset(
    {"all", "index", "follow", "noindex", "nofollow", "none", "noarchive", "nocache", "nosnippet", "noimageindex"}
    | {"notranslate", "noodp", "noydir", "indexifembedded", "noai", "noimageai", "noml"}
)
_EVERYBODY = ("", "*", "robots")


def _statements(line: str) -> Iterator[tuple[str | None, str]]:
    """Yield (agent prefix written on this part or None, directive) of one line, lower-case."""
    for part in _SEPARATOR.split(line.lower()):
        head, colon, rest = (piece.strip() for piece in part.partition(":"))
        if not colon or len(head) > 200 or not _AGENT.fullmatch(head):
            yield from ((None, word) for word in part.split())
        elif _VALUED.fullmatch(head):
            yield None, f"{head}:{rest}"
        elif head in _BARE:  # `noai: true` is not in the syntax, but plainly no crawler's name
            yield None, head
        else:
            value_head, value_colon, _ = rest.partition(":")
            valued = value_colon and _VALUED.fullmatch(value_head.strip())
            for directive in [rest] if valued else rest.split() or [""]:
                yield head, directive


def header_directives(lines: Sequence[str], token: str, *, folded: bool = False) -> frozenset[str]:
    """Collect the directives for `token` from X-Robots-Tag lines, each as it came in its own header field.

    A crawler's prefix scopes what follows it in its line. `folded` says that somebody may have joined several fields
    with commas, so that a general directive may stand behind another crawler's prefix: then those hold for us too.
    """
    ours = {*_EVERYBODY, token.strip().lower()}
    found: set[str] = set()
    for line in (piece for text in lines for piece in _HEADER_END.split(text)):
        agent = ""
        for prefix, directive in _statements(line):
            agent = agent if prefix is None else prefix
            if agent in ours or (folded and prefix is None):
                found.add(directive)
    return frozenset(found - {""})


def meta_directives(pairs: Sequence[tuple[str, str]], token: str) -> frozenset[str]:
    """Collect the directives for `token` from a page's (name, content) meta tags; several tags add up."""
    ours = {"robots", token.strip().lower()}
    contents = [content for name, content in pairs if name.strip().lower() in ours]
    return frozenset(directive for content in contents for _, directive in _statements(content) if directive)


def denied(directives: Collection[str], disallowed: Sequence[str] = DISALLOWED) -> str | None:
    """Return the directive that forbids the use, as the site wrote it, or None; `none` means noindex and nofollow."""
    for name in (entry.strip().lower() for entry in disallowed):
        if name in directives:
            return name
        if name in ("noindex", "nofollow") and "none" in directives:
            return "none"
    return None
