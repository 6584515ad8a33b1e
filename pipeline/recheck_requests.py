"""Turn what is denied by now into requests: one for a site that closed altogether, else one for each address."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from filters.policy import Denial
from filters.urls import host
from pipeline.recheck import Findings, Site
from pipeline.registry.registry import Registry

SOURCE: Final = "recheck"
_NOTE_CHARS: Final = 400


@dataclass(frozen=True)
class Wanted:
    """One request to be made."""

    kind: str  # host or url
    value: str
    category: str  # tdm or train
    reason: str
    note: str
    pairs: int


def wanted(found: Findings) -> list[Wanted]:
    """Return the requests that findings come to, hosts first.

    A host is named as a whole only where every address of it that we have is denied and anything else there would be.
    """
    by_host: dict[str, list[Site]] = {}
    for site, of_site in found.sites.items():
        by_host.setdefault(host(f"{site}/"), []).append(of_site)
    whole = {name for name, sites in by_host.items() if all(_closed(site) for site in sites)}
    requests: list[Wanted] = []
    for name in sorted(by_host):
        requests += [_of_host(name, by_host[name])] if name in whole else _of_urls(by_host[name])
    return sorted(requests, key=lambda request: (request.kind != "host", request.value))


def _closed(site: Site) -> bool:
    return site.closed and site.free == 0


def _of_host(name: str, sites: list[Site]) -> Wanted:
    denial = next(iter(sites[0].denied.values()))
    return _wanted("host", name, denial, sum(site.hit for site in sites))


def _of_urls(sites: list[Site]) -> Iterator[Wanted]:
    for site in sites:
        for url, denial in sorted({**site.by_headers, **site.denied}.items()):
            yield _wanted("url", url, denial, site.pairs[url])


def _wanted(kind: str, value: str, denial: Denial, pairs: int) -> Wanted:
    signal = denial.signal
    category = "tdm" if signal is not None and signal.category == "tdm" else "train"
    note = f"{signal.subject_url}: {signal.mechanism}: {signal.raw}" if signal is not None else denial.reason
    return Wanted(kind, value, category, denial.reason, note[:_NOTE_CHARS], pairs)


def ask_for(registry: Registry, requests: list[Wanted], snapshot: int) -> list[dict[str, Any]]:
    """Enter requests and say of each whether it is new; one that is open already is not made again."""
    before = registry.position()
    made: list[dict[str, Any]] = []
    for request in requests:
        entered = registry.add(request.kind, request.value, source=SOURCE, category=request.category, note=request.note)
        made.append({"id": entered.id, "state": entered.state, "new": entered.position > before})
    if new := sum(bool(entry["new"]) for entry in made):
        registry.append("rechecked", {"snapshot": snapshot, "requests": len(made), "new": new})
    return made
