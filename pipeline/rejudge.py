"""Judge again what was heard: pages by their sites' files, and pictures fetched under another policy by the statements kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from filters import policy
from filters.signal import Signal
from filters.urls import canonical_url, origin
from pipeline.fetch_options import FetchOptions
from pipeline.gatekeeper import Gatekeeper
from pipeline.origin_policy import OriginPolicy, read_policies
from pipeline.schema import FETCH, SIGNAL
from pipeline.trouble import Trouble

if TYPE_CHECKING:
    from pipeline.stage import Part
    from pipeline.store import Store

# A later policy may say otherwise; who forbids the visit (robots_disallow) is obeyed by any.
_BY_POLICY = sorted(set(policy.REASONS) - {"robots_disallow"})


@dataclass(frozen=True)
class Rules:
    """By what pairs are judged: the fetch's options with the release's policy, and whether sites of pages count."""

    options: FetchOptions
    page_origins: bool = True

    def public(self) -> dict[str, Any]:
        """Return what a verdict depends on, as JSON can say it."""
        return self.options.policy.public() | {"page_origins": self.page_origins}


@dataclass(frozen=True)
class Pages:
    """Which rows' pages let them pass, FETCH rows of the others, and all that the pages' sites state."""

    rows: pa.Table
    reasons: Mapping[str, Trouble]  # by page
    signals: pa.Table

    @cached_property
    def free(self) -> pa.Array:
        """bool[rows]: nobody denies the page's texts."""
        return pa.array([page not in self.reasons for page in self.rows["page_url"].to_pylist()], pa.bool_())

    @property
    def refused(self) -> pa.Table:
        """FETCH rows of the pairs whose page is denied."""
        rows = []
        for row in self.rows.select(["uid", "url", "page_url"]).filter(pc.invert(self.free)).to_pylist():
            trouble = self.reasons[row["page_url"]]
            detail = f"the page's site: {trouble.detail}"[:200]
            said = {"uid": row["uid"], "reason": trouble.reason, "detail": detail, "final_url": row["url"]}
            rows.append(dict.fromkeys(FETCH.names) | said | {"transient": False, "via": "page"})
        return pa.Table.from_pylist(rows, schema=FETCH)


def origins_of(rows: pa.Table) -> set[str]:
    """Return the origins of the rows' pictures and pages."""
    return {origin(url) for name in ("url", "page_url") for url in rows[name].to_pylist() if url} - {""}


def judge_pages(rows: pa.Table, policies: Mapping[str, OriginPolicy], rules: Rules) -> Pages:
    """Judge the rows' pages by what their sites state of any use but the visit, which was not ours."""
    reasons: dict[str, Trouble] = {}
    said: list[dict[str, Any]] = []
    pages = pc.unique(rows["page_url"]).to_pylist() if rules.page_origins and rules.options.robots else []
    gate = Gatekeeper(rules.options, policies)
    for page in sorted(page for page in pages if page):
        known = policies.get(origin(page))
        url = canonical_url(page)
        if known is None or url is None or known.unreachable is not None:
            continue
        signals: list[Signal] = []
        try:
            gate.judge_page(url, known, signals)
        except Trouble as trouble:
            reasons[page] = trouble
        said += [{"url": page} | {name: getattr(signal, name) for name in SIGNAL.names[1:]} for signal in signals]
    return Pages(rows, reasons, pa.Table.from_pylist(said, schema=SIGNAL))


def open_again(
    store: "Store",
    generations: Sequence["Part"],
    have: pa.Table,
    rows: pa.Table,
    rules: Rules,
    policies: Sequence["Part"],
) -> pa.Array:
    """Return bool[have]: fetched under another policy, and refused by it, or kept by it and denied by this one."""
    other = [part for part in generations if part.facts.get("policy") != rules.public()]
    old = pc.is_in(have["fetch_key"], value_set=pa.array([part.key for part in other], pa.string()))
    refused = pc.is_in(have["reason"], value_set=pa.array(_BY_POLICY))
    kept = have.filter(pc.and_(old, pc.is_null(have["reason"])))
    if not other or kept.num_rows == 0:
        return pc.and_(old, refused).combine_chunks()
    at = pc.index_in(kept["uid"].combine_chunks(), rows["uid"].combine_chunks())
    looked = rows.take(at)
    pages = judge_pages(looked, read_policies(store, policies, origins_of(looked)), rules)
    denied = _denied(store, other, rules)
    now = pa.array([url in denied for url in looked["url"].to_pylist()], pa.bool_())
    closed = looked["uid"].combine_chunks().filter(pc.or_(now, pc.invert(pages.free)))
    return pc.and_(old, pc.or_(refused, pc.is_in(have["uid"], value_set=closed))).combine_chunks()


def _denied(store: "Store", parts: Sequence["Part"], rules: Rules) -> set[str]:
    """Return the URLs whose kept statements deny, by this policy."""
    denied: set[str] = set()
    for part in parts:
        for url, signals in stored_signals(part.table(store, "signals.parquet")).items():
            if rules.options.policy.reason(signals) is not None:
                denied.add(url)
            else:
                denied.discard(url)  # a later generation's word counts
    return denied


def flag_counts(signals: pa.Table) -> dict[str, int]:
    """Count statements whose form is not their specification's, by flag: "malformed content-signal" and the like."""
    flagged = signals.filter(pc.not_equal(signals["flag"], ""))
    keys = pc.binary_join_element_wise(flagged["flag"], flagged["mechanism"], " ")
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(keys).to_pylist()}


def stored_signals(table: pa.Table) -> dict[str, list[Signal]]:
    """Return the signals of a SIGNAL table by the URL they were met for; an erased row's are blank and say nothing."""
    found: dict[str, list[Signal]] = {}
    for row in table.filter(pc.is_valid(table["url"])).to_pylist():
        found.setdefault(row.pop("url"), []).append(Signal(**row))
    return found
