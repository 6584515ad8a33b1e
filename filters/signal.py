"""Hold one machine-readable statement about use, and combine many into one answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Scope = Literal["host", "path", "resource", "page", "asset"]
Mechanism = Literal["robots.txt", "x-robots-tag", "meta-robots", "tdmrep.json", "tdm-header", "tdm-meta"]
Category = Literal["crawl", "tdm", "train", "search"]
Value = Literal["deny", "allow", "unknown"]

# A reservation of any mining covers training too; leave to mine is not leave to train (optout.md §0.1).
_DENIED_THROUGH: dict[Category, tuple[Category, ...]] = {"train": ("train", "tdm")}


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

    def __post_init__(self) -> None:
        if self.observed_utc.tzinfo is None:
            raise ValueError(f"observed_utc of the signal for {self.subject_url} has no time zone")


def combine(signals: Iterable[Signal], category: Category) -> Value:
    """Answer for one category: any deny wins, then any allow, else unknown (AIPREF vocab, "Combining Preferences").

    Exceptions inside one mechanism (the longest robots rule, TDMRep's supersession) are settled before this.
    """
    denied_through = _DENIED_THROUGH.get(category, (category,))
    answer: Value = "unknown"
    for signal in signals:
        if signal.value == "deny" and signal.category in denied_through:
            return "deny"
        if signal.value == "allow" and signal.category == category:
            answer = "allow"
    return answer
