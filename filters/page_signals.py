"""What a page says of its use: robots metas, X-Robots-Tag, TDMRep, AI preferences. One verdict with the page's own words."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from filters import aipref, rsl
from filters.policy import ReleasePolicy
from filters.signal import Mechanism, Statement, denied_through
from filters.tdmrep import header_value, resolve
from filters.xrobots import denied, header_directives, meta_directives

_EVIDENCE_CHARS = 1000
OF_PAGES: tuple[Mechanism, ...] = ("x-robots-tag", "meta-robots", "tdm-header", "tdm-meta", "aipref-header", "rsl")
"""Mechanisms by which a page's own response speaks; its site's files are judged when the pictures are asked for."""

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

    @property
    def policy(self) -> ReleasePolicy:
        """What the data set must be free of."""


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
    policy = options.policy
    found = [_tdm(header_pairs, tdm_meta, policy), _usage(header_pairs, policy), _licence(header_pairs, policy)]
    said = [one for one in found if one.evidence is not None]
    return next((one for one in said if one.opted_out), said[0] if said else _SILENT)


def _tdm(header_pairs: Pairs, tdm_meta: str | None, policy: ReleasePolicy) -> Verdict:
    lines = header_lines(header_pairs, "tdm-reservation") if "tdm-header" not in policy.off else []
    tdm_meta = tdm_meta if "tdm-meta" not in policy.off else None
    if not lines and tdm_meta is None:
        return _SILENT
    from_header, from_meta = header_value(",".join(lines) if lines else None), header_value(tdm_meta)
    value = resolve(None, from_header, from_meta)
    if value is None:
        return _SILENT
    denies = value == 1 and any("tdm" in denied_through(category) for category in policy.deny)
    if from_meta is not None:
        return Verdict(denies, f'<meta name="tdm-reservation" content="{tdm_meta}">'[:_EVIDENCE_CHARS])
    return Verdict(denies, f"tdm-reservation: {', '.join(lines)}"[:_EVIDENCE_CHARS])


def _usage(header_pairs: Pairs, policy: ReleasePolicy) -> Verdict:
    """Read the response's AI preferences (AIPREF attach: they are those of its content, hence of the page's texts)."""
    lines = header_lines(header_pairs, aipref.KEY) if "aipref-header" not in policy.off else []
    if not lines:
        return _SILENT
    said = aipref.read_header(lines)
    evidence = said[0].raw if said else None
    return Verdict(any(_refuses(statement, policy) for statement in said), evidence)


def _licence(header_pairs: Pairs, policy: ReleasePolicy) -> Verdict:
    """Note a licence that a page's response links: it is not fetched for one page, so what it says is not known."""
    lines = header_lines(header_pairs, "link") if "rsl" not in policy.off else []
    if not any("rsl+xml" in line.lower() for line in lines) or not rsl.link_licences(lines, "http://page.invalid/"):
        return _SILENT
    return Verdict(policy.unknown != "keep", f"Link: {', '.join(lines)}"[:_EVIDENCE_CHARS])


def _refuses(said: Statement, policy: ReleasePolicy) -> bool:
    holding = {"malformed_reservation"} | ({"malformed"} if policy.unknown != "keep" else set())
    concerned = any(said.category in denied_through(category) for category in policy.deny)
    return concerned and (said.value == "deny" or said.flag in holding)


def _robots_evidence(header_pairs: Pairs, metas: Pairs, options: PageOptions) -> str | None:
    token, off = options.user_agent_token, options.policy.off
    for name, content in metas if "meta-robots" not in off else ():
        if denied(meta_directives([(name, content)], token), options.disallowed):
            return f'<meta name="{name}" content="{content}">'
    for line in header_lines(header_pairs, "x-robots-tag") if "x-robots-tag" not in off else ():
        if denied(header_directives([line], token), options.disallowed):
            return f"X-Robots-Tag: {line}"
    return None
