"""The papers that the law asks for, filled from facts: the EU summary of training content, the record of processing, the notice.

What the configuration's [controller] does not say is listed as missing; nothing is made up. None of this is legal advice.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from pipeline.card import cell
from pipeline.disclosure.domains import shares
from pipeline.disclosure.facts import CRAWLED, Facts
from pipeline.disclosure.removals import FEED
from pipeline.pages import count, share, size
from pipeline.reasons import meaning

_SHOWN: Final = 100  # domains in the page; the CSV has all that are to be listed
_NEEDED: Final = ("name", "contact", "dpo", "authority", "purposes", "legal_basis", "retention", "transfers")
_SUBJECTS: Final = [
    "people shown in pictures or named in texts",
    "makers of pictures",
    "owners of sites",
    "people who made requests",
]
_DATA: Final = [
    "pictures and texts, where they show or name people",
    "addresses of pictures and pages",
    "vectors and hashes of pictures",
    "makers and copyright notices in the pictures' own metadata",
    "what people said in their requests",
]
_RANGES: Final = ((10**6, "less than 1 million"), (10**9, "1 million to 1 billion"))


def eu_summary(facts: Facts, sme: bool = False) -> dict[str, Any]:
    """Return the summary of training content by the parts of the Commission's template (AI Act art. 53(1)(d)).

    Domains are listed by the size of what was taken from them: the largest 10 %, for small enterprises 5 % or 1,000.
    """
    snapshot, found = facts.snapshot, facts.domains
    top = found.top(sme)
    crawled = {kind: n for kind, n in facts.inputs.items() if kind in CRAWLED}
    lists = {kind: n for kind, n in facts.inputs.items() if kind not in CRAWLED}
    fetch: Mapping[str, Any] = facts.config.get("fetch", {})
    names = [row["domain"] for row in found.table.slice(0, min(top, _SHOWN)).to_pylist()]
    return {
        "1 general": {
            "provider": facts.controller["name"],
            "contact": facts.contact,
            "dataset": facts.name,
            "snapshot": snapshot.number,
            "modalities": {
                "image": {"items": facts.rows, "range": _range(facts.rows), "original_bytes": found.bytes},
                "text": {"items": facts.rows, "about": "one short text a picture"},
            },
            "languages": facts.config.get("text", {}).get("languages") or "any",
            "collected_from_utc": facts.first_utc,
            "published_utc": facts.published_utc,
        },
        "2.1 public data sets": {"lists of addresses that others published": lists} if lists else "none",
        "2.2 licensed and other private data sets": "none",
        "2.3 crawled content": {
            "crawler": fetch.get("user_agent_token"),
            "operator": facts.controller["name"],
            "purpose": facts.controller["purposes"],
            "behaviour": _behaviour(fetch),
            "inputs": crawled,
            "collected_from_utc": facts.first_utc,
            "collected_to_utc": facts.published_utc,
            "domains": {
                "all": found.table.num_rows,
                "listed": top,
                "rule": "the largest 5 % or 1,000, whichever is less" if sme else "the largest 10 %",
                "share_of_bytes": round(shares(found, top), 6),
                "file": "eu_domains.csv",
                "largest": names,
            },
        },
        "2.4 user data": "none",
        "2.5 synthetic data": "none",
        "2.6 other": "none",
        "3 processing": {
            "reservations_honoured": facts.honours,
            "left_out_because_somebody_said_no": facts.refused,
            "requests": dict(facts.requests),
            "erased_samples": facts.erased,
            "illegal_content": "pictures on lists of hashes are dropped unseen and unkept; "
            f"{count(facts.snapshot.dropped.get('hash_listed', 0))} were",
            "removals_feed": FEED,
        },
        "missing": missing(facts, ("name", "contact", "purposes")),
    }


def _range(rows: int) -> str:
    return next((says for limit, says in _RANGES if rows < limit), "more than 1 billion")


def _behaviour(fetch: Mapping[str, Any]) -> str:
    asked = (
        "robots.txt and tdmrep.json are asked first"
        if fetch.get("robots", True)
        else "robots.txt and tdmrep.json are not asked"
    )
    return (
        f"{asked}; requests to one host are few at a time, and pause where it asks for that; no passwords, paywalls or captchas are "
        "passed; pictures that a crawl's own files hold are taken from there"
    )


def missing(facts: Facts, names: Sequence[str] = _NEEDED) -> list[str]:
    """Return the keys of the configuration that a paper needs and that say nothing."""
    known = {**facts.controller, "contact": facts.contact}
    return [f"controller.{name}" for name in names if not known[name]]


def ropa(facts: Facts) -> dict[str, Any]:
    """Return the record of processing activities (GDPR art. 30(1)) for one snapshot."""
    c = facts.controller
    recipients: dict[str, list[dict[str, Any]]] = {}
    for made in facts.releases:
        told = {
            "release": made.id,
            "snapshot": made.snapshot,
            "released_utc": made.released_utc,
            "purpose": made.purpose,
        }
        recipients.setdefault(made.recipient, []).append(told)
    own = ["requests, their values sealed with a key each that is destroyed when they are closed", "an append-only signed log",
           "one folder (private/) for its owner alone, never part of a release", "samples are named by digests"]  # fmt: skip
    return {
        "dataset": facts.name,
        "snapshot": facts.snapshot.number,
        "config_digest": facts.snapshot.config_digest,
        "controller": {name: c[name] for name in ("name", "contact", "representative", "dpo")},
        "purposes": c["purposes"],
        "legal_basis": c["legal_basis"],
        "data_subjects": _SUBJECTS,
        "personal_data": _DATA,
        "recipients": recipients,
        "transfers": c["transfers"],
        "erasure_time_limits": {
            "dataset": c["retention"],
            "requests": "one month from receipt, three where extended with notice (art. 12(3)); hidden at once",
            "requests_themselves": "sealed values are destroyed when a request is closed",
            "snapshots": f"the shards of the last {facts.config.get('pack', {}).get('keep_snapshots')} are kept, "
            "and those that a training reads until it ends, or until a week after its last checkpoint",
        },
        "security": [*own, *([c["security"]] if c["security"] else [])],
        "requests": dict(facts.requests),
        "erased_samples": facts.erased,
        "missing": missing(facts),
    }  # fmt: skip


def page(template: str, facts: Facts, **more: Any) -> str:
    """Return one of the Markdown papers."""
    source = files("pipeline").joinpath(f"templates/{template}").read_text(encoding="utf-8")
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    # Markdown, not HTML: values are masked by `cell`
    environment = Environment(undefined=StrictUndefined, autoescape=False, **options)  # noqa: S701
    environment.filters |= {"count": count, "share": share, "size": size, "cell": cell}
    refused = sorted(facts.refused.items(), key=lambda item: (-item[1], item[0]))
    return environment.from_string(source).render(
        facts=facts,
        c=facts.controller,
        refused=[(name, n, meaning(name)) for name, n in refused],
        feed=FEED,
        **more,
    )
