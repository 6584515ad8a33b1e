"""Hold one machine-readable statement about use, and combine many into one answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, get_args

Scope = Literal["host", "path", "resource", "page", "asset"]
Mechanism = Literal[
    "robots.txt",  # Allow and Disallow for our token
    "proxy-token",  # Disallow for a crawler that gathers training data (filters.proxy_tokens)
    "content-signal",
    "aipref-robots",
    "aipref-header",
    "rsl",
    "ai.txt",
    "trust.txt",
    "x-robots-tag",
    "meta-robots",
    "tdmrep.json",
    "tdm-header",
    "tdm-meta",
    "iptc-plus",  # plus:DataMining inside the picture's file
    "xmp-tdm",  # tdm:reservation inside the picture's file
    "c2pa",  # c2pa.training-mining and cawg.training-mining
]
Category = Literal["crawl", "tdm", "train", "train-genai", "ai-input", "search"]
Value = Literal["deny", "allow", "unknown"]
Flag = Literal[
    "",
    "malformed",  # cannot be read
    "malformed_reservation",  # cannot be read, but looks like a no to training
    "nonconformant",  # its meaning is plain, its form is not the specification's
    "old_label",  # a name from an earlier draft
    "unreadable",  # the file is there, or may be, and could not be got
]

MECHANISMS: Final[tuple[Mechanism, ...]] = get_args(Mechanism)
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

# A reservation of any mining covers training, and one of any training covers that of generative models; leave to do
# the former is not leave to do the latter (optout.md §0.1).
_DENIED_THROUGH: dict[Category, tuple[Category, ...]] = {
    "train": ("train", "tdm"),
    "train-genai": ("train-genai", "train", "tdm"),
}


class Statement(NamedTuple):
    """What a parser found: a signal that does not know yet of whom and when."""

    category: Category
    value: Value
    raw: str
    flag: Flag = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """Say who stated what about which URL, when, and in which words."""

    subject_url: str
    scope: Scope
    mechanism: Mechanism
    category: Category
    value: Value
    agent_scope: str  # the product token addressed, "*" for everybody
    raw: str
    observed_utc: datetime
    flag: Flag = ""
    evidence_digest: bytes | None = None  # SHA-256 of the whole file or packet that `raw` was read from

    def __post_init__(self) -> None:
        if self.observed_utc.tzinfo is None:
            raise ValueError(f"observed_utc of the signal for {self.subject_url} has no time zone")


def denied_through(category: Category) -> tuple[Category, ...]:
    """Return the categories whose deny is a deny for this one, itself included."""
    return _DENIED_THROUGH.get(category, (category,))


def combine(signals: Iterable[Signal], category: Category) -> Value:
    """Answer for one category: any deny wins, then any allow, else unknown (AIPREF vocab, "Combining Preferences").

    Exceptions inside one mechanism (the longest robots rule, TDMRep's supersession) are settled before this.
    """
    through = denied_through(category)
    answer: Value = "unknown"
    for signal in signals:
        if signal.value == "deny" and signal.category in through:
            return "deny"
        if signal.value == "allow" and signal.category == category:
            answer = "allow"
    return answer
