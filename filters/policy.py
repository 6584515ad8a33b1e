"""Decide from statements whether a release may hold what they speak of: the one rule, and its few knobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from filters.signal import Category, Mechanism, Signal, denied_through

Unknown = Literal["keep", "unclear", "drop"]

DENY: Final[tuple[Category, ...]] = ("crawl", "tdm", "train", "train-genai")
REASON_OF: Final[dict[Mechanism, str]] = {
    "robots.txt": "robots_disallow",
    "proxy-token": "training_reserved",
    "content-signal": "training_reserved",
    "aipref-robots": "training_reserved",
    "aipref-header": "training_reserved",
    "ai.txt": "training_reserved",
    "trust.txt": "training_reserved",
    "rsl": "licence_denies",
    "x-robots-tag": "noai_header",
    "meta-robots": "noai_page",
    "tdmrep.json": "tdm_reserved",
    "tdm-header": "tdm_reserved",
    "tdm-meta": "tdm_reserved",
    "iptc-plus": "rights_metadata",
    "xmp-tdm": "rights_metadata",
    "c2pa": "c2pa_denied",
}
UNCLEAR: Final = "signal_unclear"
NOT_ALLOWED: Final = "not_allowed"
REASONS: Final[tuple[str, ...]] = (*dict.fromkeys(REASON_OF.values()), UNCLEAR, NOT_ALLOWED)
"""Closed: what a policy may answer."""

# Which of their directives mean no is chosen by name (`fetch.disallowed`), so a deny of theirs counts whatever its category.
_BY_NAME: Final = frozenset({"x-robots-tag", "meta-robots"})
_MALFORMED: Final = frozenset({"malformed", "malformed_reservation", "unreadable"})
_TRAINING: Final[tuple[Category, ...]] = ("train", "train-genai")


class Denial(NamedTuple):
    """Why something is not in the release, and the statement that decided (None: it is its absence)."""

    reason: str
    signal: Signal | None


@dataclass(frozen=True)
class ReleasePolicy:
    """What a release must be free of. Page and picture are judged separately; either one's denial keeps the pair out."""

    deny: Sequence[Category] = DENY
    unknown: Unknown = "keep"
    """keep: silence is no denial, nor is what cannot be read, save what looks like a reservation. unclear: what cannot
    be read is left out too. drop: only what somebody allows in so many words is kept."""
    proxy_tokens: bool = True
    """Whether a Disallow for a training crawler reserves training from us too."""
    off: Sequence[Mechanism] = ()
    """Mechanisms that decide nothing; what they say is recorded all the same."""

    def counts(self, signal: Signal) -> bool:
        """Tell whether a statement has a say in this release."""
        return signal.mechanism not in self.off and (self.proxy_tokens or signal.mechanism != "proxy-token")

    def denies(self, signal: Signal) -> bool:
        """Tell whether this one statement keeps its subject out."""
        if signal.value != "deny" or not self.counts(signal):
            return False
        return signal.mechanism in _BY_NAME or any(signal.category in denied_through(c) for c in self.deny)

    def denial(self, signals: Iterable[Signal]) -> Denial | None:
        """Return the first denial among the statements on one subject, or None: any deny wins."""
        return next((Denial(REASON_OF[s.mechanism], s) for s in signals if self.denies(s)), None)

    def unclear(self, signals: Iterable[Signal]) -> Denial | None:
        """Return the first statement that cannot be read and therefore holds its subject back."""
        holding = _MALFORMED if self.unknown != "keep" else {"malformed_reservation"}
        for signal in signals:
            if signal.value == "unknown" and signal.flag in holding and self.counts(signal) and self._concerned(signal):
                return Denial(UNCLEAR, signal)
        return None

    def held(self, signals: Sequence[Signal]) -> Denial | None:
        """Return what `unknown` makes of statements without a denial; ask once all of a subject's are known."""
        if (found := self.unclear(signals)) is not None:
            return found
        if self.unknown == "drop":
            heard = [signal for signal in signals if self.counts(signal)]
            wanted: list[Category] = [category for category in self.deny if category in _TRAINING] or ["tdm"]
            if not any(signal.value == "allow" and signal.category in wanted for signal in heard):
                return Denial(NOT_ALLOWED, None)
        return None

    def reason(self, signals: Sequence[Signal]) -> str | None:
        """Return why a subject with exactly these statements is not in the release, or None when it may be."""
        found = self.denial(signals) or self.held(signals)
        return found.reason if found else None

    def public(self) -> dict[str, Any]:
        """Return the policy as JSON can say it, every list in one order."""
        deny, off = sorted(set(self.deny)), sorted(set(self.off))
        return {"deny": deny, "unknown": self.unknown, "proxy_tokens": self.proxy_tokens, "off": off}

    def _concerned(self, signal: Signal) -> bool:
        return any(signal.category in denied_through(category) for category in self.deny)
