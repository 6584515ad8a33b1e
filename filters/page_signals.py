"""What a page says of its use: robots metas, X-Robots-Tag, TDMRep. One verdict with the page's own words."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from filters.tdmrep import header_value, resolve
from filters.xrobots import denied, header_directives, meta_directives

_EVIDENCE_CHARS = 1000

Pairs = Sequence[tuple[str, str]]


class PageOptions(Protocol):
    """What reading a page depends on; the run's read options fit."""

    @property
    def text_from(self) -> tuple[str, ...]:
        """Texts of a picture in order of preference: alt, title, figcaption."""

    @property
    def user_agent_token(self) -> str:
        """Our crawler's name, lower-cased on comparison."""

    @property
    def disallowed(self) -> tuple[str, ...]:
        """Directives that mean no."""


class Verdict(NamedTuple):
    """Whether a page forbids the use, and its words (also where they allow it in so many words)."""

    opted_out: bool
    evidence: str | None = None


_SILENT = Verdict(False)


def header_lines(pairs: Pairs, name: str) -> list[str]:
    """Return the values of one header, a field each."""
    return [value for key, value in pairs if key.lower() == name]


def verdict(header_pairs: Pairs, metas: Pairs, tdm_meta: str | None, options: PageOptions) -> Verdict:
    """Judge a page by its response headers and metas; any mechanism's no is a no.

    Inside TDMRep the meta supersedes the header (final report, §"Precedence"). The result speaks for the page's texts.
    """
    if not header_pairs and not metas and tdm_meta is None:
        return _SILENT
    evidence = _robots_evidence(header_pairs, metas, options)
    if evidence:
        return Verdict(True, evidence[:_EVIDENCE_CHARS])
    lines = header_lines(header_pairs, "tdm-reservation")
    if not lines and tdm_meta is None:
        return _SILENT
    from_header, from_meta = header_value(",".join(lines) if lines else None), header_value(tdm_meta)
    value = resolve(None, from_header, from_meta)
    if value is None:
        return _SILENT
    if from_meta is not None:
        return Verdict(value == 1, f'<meta name="tdm-reservation" content="{tdm_meta}">'[:_EVIDENCE_CHARS])
    return Verdict(value == 1, f"tdm-reservation: {', '.join(lines)}"[:_EVIDENCE_CHARS])


def _robots_evidence(header_pairs: Pairs, metas: Pairs, options: PageOptions) -> str | None:
    token = options.user_agent_token
    for name, content in metas:
        if denied(meta_directives([(name, content)], token), options.disallowed):
            return f'<meta name="{name}" content="{content}">'
    for line in header_lines(header_pairs, "x-robots-tag"):
        if denied(header_directives([line], token), options.disallowed):
            return f"X-Robots-Tag: {line}"
    return None
