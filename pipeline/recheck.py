"""Before a release: ask the hosts of the newest snapshot again, and turn what they deny by now into requests.

Preferences hold as of the fetch, so a changed file undoes nothing by itself; who has changed his mind is heard all the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from filters.policy import Denial
from filters.signal import Mechanism, Signal, Value
from filters.urls import canonical_url, origin
from pipeline import judging, permits
from pipeline.client import Client, Download, site_of
from pipeline.fetch_options import FetchOptions
from pipeline.gatekeeper import Gatekeeper
from pipeline.lanes import in_fair_lanes, run_loop
from pipeline.origin_policy import OriginPolicy
from pipeline.recheck_rows import KeptPart, config_of, kept_parts
from pipeline.rejudge import origins_of
from pipeline.snapshot import Snapshot
from pipeline.store import Store

SMALL_HOST: Final = 100
"""Pictures of a host whose headers are looked at when nothing else is said."""
MAX_AGE_S: Final = 24 * 3600.0  # RFC 9309 §2.4
_OF_HEADERS: Final[frozenset[Mechanism]] = frozenset({"x-robots-tag", "tdm-header", "aipref-header"})
_OF_FILES: Final = frozenset({"host", "path"})
_PROBES: Final = ("/", "/a-path-that-nobody-has/x.jpg")
_GONE: Final = ("http_4xx",)


class Change(NamedTuple):
    """One mechanism's word on one use, then and now, and on how many addresses of a site."""

    site: str
    mechanism: str
    category: str
    before: str  # deny, allow, unknown, or "-" where nothing was said
    after: str
    addresses: int


@dataclass
class Site:
    """What one origin's addresses came to."""

    free: int = 0  # addresses that it does not deny
    closed: bool = False  # it denies whatever may be there, not only what we have
    hit: int = 0  # kept pairs with a denied picture or page of its
    denied: dict[str, Denial] = field(default_factory=dict)  # by address, of its files
    by_headers: dict[str, Denial] = field(default_factory=dict)
    pairs: Counter[str] = field(default_factory=Counter)  # kept pairs by denied address


@dataclass
class Findings:
    """The outcome: counts, changes, and what is denied now."""

    snapshot: int
    pairs: int = 0
    unreachable: list[str] = field(default_factory=list)  # sites whose robots.txt could not be got: no deny, no release
    looked_at: int = 0  # pictures whose headers came
    gone: int = 0
    unanswered: int = 0
    sites: dict[str, Site] = field(default_factory=dict)
    changed: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)

    @property
    def changes(self) -> list[Change]:
        """Return what has changed, sorted by site."""
        return [Change(*key, count) for key, count in sorted(self.changed.items())]


def recheck(store: Store, snapshot: Snapshot, *, sample: int | None = None, max_age_s: float = MAX_AGE_S) -> Findings:
    """Ask every site of the kept pairs for its files, and pictures for their headers (HEAD), and compare.

    `sample` is how many pictures of a host are looked at; absent, `SMALL_HOST`, which is all of a small host.
    Answers younger than `max_age_s` are not asked for again.
    """
    config = config_of(snapshot, store)
    options = judging.fetch_options(config)
    found = Findings(snapshot.number)
    budget: Counter[str] = Counter()
    for part in kept_parts(store, snapshot):
        found.pairs += part.rows.num_rows
        policies = permits.ask_again(store, origins_of(part.rows), options, max_age_s)
        gate = Gatekeeper(options, policies)
        open_urls = _judge_files(part, gate, found, config.signals.page_origins)
        chosen = _sampled(open_urls, budget, SMALL_HOST if sample is None else sample)
        _judge_headers(part, chosen, options, policies, found)
    found.unreachable = sorted(set(found.unreachable))
    return found


def _judge_files(part: KeptPart, gate: Gatekeeper, found: Findings, with_pages: bool) -> list[str]:
    """Judge all addresses by their sites' files; return the pictures that nobody denies."""
    rows = part.rows.select(["url", "page_url"]).to_pylist()
    pictures = Counter(row["url"] for row in rows)
    pages = Counter(row["page_url"] for row in rows if row["page_url"]) if with_pages else Counter[str]()
    free = []
    denied: dict[str, str] = {}  # address → its site
    for addresses, is_page in ((pictures, False), (pages, True)):
        for url, pairs in sorted(addresses.items()):
            denial = _judge_file(part, gate, found, url, is_page=is_page)
            if denial is None and not is_page:
                free.append(url)
            elif denial is not None and denial.signal is not None:
                denied[url] = origin(url)
                found.sites[denied[url]].pairs[url] += pairs
    for row in rows:
        for site in {denied[url] for url in (row["url"], row["page_url"]) if url in denied}:
            found.sites[site].hit += 1
    return free


def _judge_file(part: KeptPart, gate: Gatekeeper, found: Findings, url: str, *, is_page: bool) -> Denial | None:
    site = origin(url)
    known, address = gate.policies.get(site), canonical_url(url)
    if known is None or address is None:
        return None
    if known.unreachable is not None:
        found.unreachable.append(site)
        return None if is_page else Denial(known.unreachable, None)
    denial, signals = _verdict(gate, known, address, is_page=is_page)
    said = (signal for signal in part.heard.get(url, []) if signal.scope in _OF_FILES)
    own = [signal for signal in said if signal.mechanism == "rsl" or signal.subject_url.startswith(f"{site}/")]
    _compare(found, site, own, signals)  # what the hosts of redirects said is theirs
    of_site = found.sites.setdefault(site, Site())
    of_site.free += denial is None
    if denial is not None:
        of_site.denied[url] = denial
        probes = (_verdict(gate, known, site + path, is_page=is_page)[0] for path in _PROBES)
        of_site.closed = all(probe is not None for probe in probes)
    return denial


def _verdict(gate: Gatekeeper, known: OriginPolicy, url: str, *, is_page: bool) -> tuple[Denial | None, list[Signal]]:
    """Return what a site's files say of a URL by now; of a page only the use counts, for the visit was not ours."""
    rules = gate.rules(known)
    uses = [signal for signal, _ in rules.uses(url)]
    if is_page:
        return gate.options.policy.denial(uses), uses
    (visit, _), reason = rules.crawl(url)
    denial = Denial(reason, visit) if reason is not None else gate.options.policy.denial(uses)
    return denial, [visit, *uses]


def _compare(found: Findings, site: str, before: Sequence[Signal], after: Sequence[Signal]) -> None:
    """Note where a mechanism's word on a use differs; mechanisms that were never heard count from silence."""
    then, now = _words(before), _words(after)
    for mechanism, category in then.keys() | now.keys():
        one, two = then.get((mechanism, category), "-"), now.get((mechanism, category), "-")
        if one != two and {one, two} != {"-", "unknown"}:
            found.changed[site, mechanism, category, one, two] += 1


def _words(signals: Sequence[Signal]) -> dict[tuple[str, str], str]:
    order: dict[Value, int] = {"unknown": 0, "allow": 1, "deny": 2}
    words: dict[tuple[str, str], Value] = {}
    for signal in signals:
        key = signal.mechanism, signal.category
        if key not in words or order[signal.value] > order[words[key]]:
            words[key] = signal.value
    return dict(words)


def _sampled(urls: Sequence[str], budget: Counter[str], per_host: int) -> list[str]:
    """Choose pictures, at most so many of a host over all parts, spread over the part's list."""
    by_host: dict[str, list[str]] = {}
    for url in urls:
        by_host.setdefault(site_of(url), []).append(url)
    chosen = []
    for host, mine in by_host.items():
        count = min(len(mine), max(0, per_host - budget[host]))
        budget[host] += count
        chosen += [mine[i * len(mine) // count] for i in range(count)]
    return chosen


def _judge_headers(
    part: KeptPart, urls: Sequence[str], options: FetchOptions, policies: Mapping[str, OriginPolicy], found: Findings
) -> None:
    """Ask for the headers of pictures, every hop judged as in a fetch."""

    async def look_at_all() -> list[Download]:
        async with Client(options) as client:
            gate = Gatekeeper(options, policies, client)

            async def look_at(url: str) -> Download:
                return await client.download(url, gate, "HEAD")

            try:
                sites = [site_of(url) for url in urls]
                lanes, a_host = options.concurrency, options.host_concurrency
                return await in_fair_lanes(look_at, list(urls), sites, lanes=lanes, lanes_a_group=a_host)
            finally:
                gate.close()

    pairs = Counter(part.rows["url"].to_pylist())
    for download in run_loop(look_at_all()) if urls else ():
        url, site = download.url, site_of(download.url)
        denial = options.policy.denial(download.signals)
        now = [signal for signal in download.signals if signal.mechanism in _OF_HEADERS]
        if denial is None and download.reply is None:
            gone = download.trouble is not None and download.trouble.reason in _GONE
            found.gone, found.unanswered = found.gone + gone, found.unanswered + (not gone)
            continue
        found.looked_at += 1
        then = [signal for signal in part.heard.get(url, []) if signal.mechanism in _OF_HEADERS]
        _compare(found, site, then, now)
        if denial is not None:
            of_site = found.sites.setdefault(site, Site())
            of_site.by_headers[url] = denial
            of_site.pairs[url] += pairs[url]
