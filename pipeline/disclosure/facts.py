"""What the papers on a data set are filled from: its own records and configuration. What is not known is None, never made up."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from filters.signal import Mechanism
from pipeline import amendments
from pipeline.card import contact, stored_bytes
from pipeline.config import ControllerConfig
from pipeline.disclosure import erased
from pipeline.disclosure.domains import RESERVED, Domains, domains
from pipeline.disclosure.releases import Release, releases, signals
from pipeline.registry.registry import Registry
from pipeline.snapshot import Snapshot
from pipeline.stage import find
from pipeline.store import Store

CRAWLED: Final = ("warc", "wat", "html")
"""Kinds of inputs that are pages; the others are lists of addresses that somebody else made."""


_SAYS: Final[Mapping[Mechanism, str]] = {
    "robots.txt": "robots.txt (RFC 9309) for `{token}` and for all",
    "proxy-token": "robots.txt that shuts out a crawler for training data",
    "content-signal": "Content-Signal in robots.txt",
    "aipref-robots": "Content-Usage in robots.txt (AIPREF)",
    "aipref-header": "Content-Usage in HTTP headers (AIPREF)",
    "rsl": "machine-readable licences (RSL)",
    "ai.txt": "ai.txt",
    "trust.txt": "trust.txt",
    "x-robots-tag": "X-Robots-Tag: {names}",
    "meta-robots": "robots meta tags: {names}",
    "tdmrep.json": "tdmrep.json (TDMRep)",
    "tdm-header": "TDM reservation headers (TDMRep)",
    "tdm-meta": "TDM reservation meta tags (TDMRep)",
    "iptc-plus": "data mining rights in the picture's own file (IPTC, PLUS)",
    "xmp-tdm": "TDM reservation in the picture's own file",
    "c2pa": "training and mining assertions in the picture's own file (C2PA, CAWG)",
}
"""Each mechanism in words; the order is that of the papers."""


@dataclass(frozen=True)
class Facts:
    """One data set at one snapshot."""

    name: str
    snapshot: Snapshot
    controller: Mapping[str, str | None]
    domains: Domains
    inputs: Mapping[str, int]  # kind of input → how many
    counts: Mapping[str, int]  # what extraction saw
    stored_bytes: int
    first_utc: str | None  # of the first run
    published_utc: str | None  # of this snapshot
    releases: tuple[Release, ...]
    requests: Mapping[str, int]  # state → requests
    erased: int
    last_erasure_utc: str | None

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the snapshot's configuration."""
        return self.snapshot.config

    @property
    def rows(self) -> int:
        """Return the pairs that are in it now: those of the snapshot without what was erased since."""
        return self.snapshot.rows - self.domains.removed

    @property
    def contact(self) -> str | None:
        """Return where people write to be left out."""
        return contact(self.config)

    @property
    def refused(self) -> dict[str, int]:
        """Return reason → rows, for every reason that is somebody's no."""
        return {reason: n for reason, n in self.snapshot.dropped.items() if reason in RESERVED}

    @property
    def honours(self) -> list[str]:
        """Return the statements that this snapshot's run was set to obey."""
        told = signals(self.snapshot)
        off = {*told.get("off", ()), *(() if told.get("proxy_tokens", True) else ("proxy-token",))}
        off |= set() if told.get("robots", True) else {"robots.txt", "tdmrep.json"}
        lines = [says for mechanism, says in _SAYS.items() if mechanism not in off]
        names = ", ".join(told.get("disallowed", ()))
        token = told.get("user_agent_token", "")
        if self.config.get("optout", {}).get("lists", True):
            lines.append(
                "requests of persons, and lists of addresses, sites and hashes, before fetching and after decoding"
            )
        return [line.format(names=names, token=token) for line in lines]


def gather(store: Store, snapshot: Snapshot, registry: Registry | None) -> Facts:
    """Read the facts of a snapshot, part by part."""
    kinds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for key in snapshot.extracts:
        part = find(store, "extract", key)
        if part is not None:
            kinds[str(part.facts.get("kind", "unknown"))] += 1
            counts.update({name: n for name, n in part.facts.get("counts", {}).items() if isinstance(n, int)})
    controller = {
        name: snapshot.config.get("controller", {}).get(name) or None for name in ControllerConfig.model_fields
    }
    events = list(_events(store))
    erasures = amendments.erasures(store)
    return Facts(
        name=store.root.rstrip("/").rsplit("/", 1)[-1],
        snapshot=snapshot,
        controller=controller,
        domains=domains(store, snapshot),
        inputs=dict(sorted(kinds.items())),
        counts=dict(sorted(counts.items())),
        stored_bytes=stored_bytes(store, snapshot),
        first_utc=min((str(event["utc"]) for event in events), default=None),
        published_utc=min((str(e["utc"]) for e in events if _published(e, snapshot.number)), default=None),
        releases=tuple(releases(registry)) if registry is not None else (),
        requests=registry.counts() if registry is not None else {},
        erased=len(erased.erased_in(store)),
        last_erasure_utc=erasures[-1].utc if erasures else None,
    )


def _published(event: Mapping[str, Any], number: int) -> bool:
    return event.get("event") == "published" and event.get("snapshot") == number


def _events(store: Store) -> Iterator[dict[str, Any]]:
    names = ["events.jsonl"] if store.exists("events.jsonl") else []
    for name in [*names, *store.names("events")]:
        for line in store.read(name).splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if "utc" in event:
                yield event
