"""What the papers on a data set are filled from: its own records and configuration. What is not known is None, never made up."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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
    def contact(self) -> str | None:
        """Return where people write to be left out."""
        return contact(self.config)

    @property
    def refused(self) -> dict[str, int]:
        """Return reason → rows, for every reason that is somebody's no."""
        return {reason: n for reason, n in self.snapshot.dropped.items() if reason in RESERVED}

    @property
    def honours(self) -> list[str]:
        """Return the statements that this data set's run was set to obey."""
        told, fetch = signals(self.snapshot), self.config.get("fetch", {})
        files = (
            [f"robots.txt (RFC 9309) for {told.get('user_agent_token')}", "tdmrep.json (TDMRep)"]
            if fetch.get("robots", True)
            else []
        )
        names = ", ".join(told.get("disallowed", []))
        files += ["TDM reservation headers and meta tags (TDMRep)"]
        files += [f"X-Robots-Tag and robots meta tags: {names}"] if names else []
        if self.config.get("optout", {}).get("lists", True):
            files += ["requests of persons and lists, before fetching and after decoding"]
        if "signals" in self.config:
            off = ", ".join(self.config["signals"].get("off", []))
            also = "Content-Signal, AIPREF, RSL, ai.txt, trust.txt, rights fields in the pictures' own metadata"
            files += [also + (f" (not: {off})" if off else "")]
        return files


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
    erasures = erased.erasures(store)
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
