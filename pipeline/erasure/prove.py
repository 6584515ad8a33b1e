"""Prove an erasure: search the whole data set, close and forget the request, search the registry again, sign what was seen."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline import amendments, tombstones
from pipeline.erasure.needles import Needles, of_requests
from pipeline.erasure.scan import Finding, Scan
from pipeline.errors import FormatError, InputError
from pipeline.pages import render
from pipeline.registry import log, place
from pipeline.registry.receipts import receipt
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Request
from pipeline.store import Store

REPORTS = f"{place.FOLDER}/reports"
_DRAFT = ".draft.json"
"""Ending of what a report will say, kept from before its request is closed until the report is written."""
_FORMAT = "tamis erasure report 1"


@dataclass
class Proof:
    """What one call of `verify` found."""

    scan: Scan
    closed: list[str] = field(default_factory=list)  # requests
    open: dict[str, list[Finding]] = field(default_factory=dict)  # request → what is left of it
    reports: list[str] = field(default_factory=list)  # names of the pages written

    @property
    def findings(self) -> list[Finding]:
        """Return everything that is left, of whichever request."""
        return [finding for found in self.open.values() for finding in found]


def verify(
    store: Store, registry: Registry, request_id: str | None = None, note: Callable[[str], None] = lambda _: None
) -> Proof:
    """Search for what erased requests meant (all of them, or one) and close those of which nothing is left."""
    late = _resume(store, registry)
    waiting = [registry.get(request_id)] if request_id else list(registry.requests("erased"))
    for asked in waiting:
        if asked.state != "erased" and asked.id not in late:
            raise InputError(f"request {asked.id} is {asked.state}; what can be verified is erased and not yet closed")
    waiting = [asked for asked in waiting if asked.state == "erased"]
    needles = of_requests(registry, [asked.id for asked in waiting])
    if not waiting:
        return Proof(Scan(needles), closed=list(late), reports=list(late.values()))
    note(f"searching {store.root} for {len(needles.strings):,} values of {len(needles.uids):,} samples")
    scan = Scan(needles).run(store)
    proof = Proof(scan, list(late), reports=list(late.values()))
    for finding in scan.findings:
        for owner in needles.owners.get(finding.subject, set()) if finding.subject else [asked.id for asked in waiting]:
            proof.open.setdefault(owner, []).append(finding)
    facts = {asked.id: _facts(store, registry, asked, scan) for asked in waiting if asked.id not in proof.open}
    for id_, known in facts.items():
        store.write(f"{REPORTS}/{id_}{_DRAFT}", json.dumps(known).encode())
        body = {"files": scan.files, "bytes": scan.read_bytes, "values": len(needles.strings), "findings": 0}
        registry.advance(id_, "closed", body=body)
        registry.shred(id_)
    proof.closed += facts
    _after(store, registry, proof, facts)
    return proof


def _resume(store: Store, registry: Registry) -> dict[str, str]:
    """Finish what a killed call left: forget requests that it closed, and write their reports; return request → report.

    The values are gone with the key, or not known to have been looked for, so that the registry's own files are not searched.
    """
    for asked in registry.requests("closed"):
        if not asked.forgotten:
            registry.shred(asked.id)
    late: dict[str, str] = {}
    for name in store.names(REPORTS):
        if name.endswith(_DRAFT):
            id_ = name.rsplit("/", 1)[1].removesuffix(_DRAFT)
            if registry.get(id_).state == "closed":
                facts = json.loads(store.read(name))
                late[id_] = write_report(store, registry, id_, {**facts, "registry_files": None})
            store.delete(name)
    return late


def _after(store: Store, registry: Registry, proof: Proof, facts: Mapping[str, dict[str, Any]]) -> None:
    """Search the registry's own files while the values are still in memory, and write the reports."""
    again = Scan(_only(proof.scan.needles, proof.closed)).run(store, f"{place.FOLDER}/")
    for finding in again.findings:
        for owner in proof.scan.needles.owners.get(finding.subject, set()) & set(proof.closed):
            proof.open.setdefault(owner, []).append(finding)
    for id_, known in facts.items():
        left = [finding.to_json() for finding in proof.open.get(id_, [])]
        known["registry_files"] = {"files": again.files, "bytes": again.read_bytes, "findings": left}
        proof.reports.append(write_report(store, registry, id_, known))


def _only(needles: Needles, requests: Sequence[str]) -> Needles:
    """Return the needles of some requests; those of open ones stand sealed in the registry and nowhere in clear."""
    mine = {subject for subject, owners in needles.owners.items() if owners & set(requests)}
    strings = {string: kinds for string, kinds in needles.strings.items() if string.hex() in mine}
    return Needles(needles.uids & mine, needles.owners, strings, needles.values, needles.stored & mine)


def _facts(store: Store, registry: Registry, asked: Request, scan: Scan) -> dict[str, Any]:
    """Return what the report says, as far as it is known before the request is forgotten."""
    matches = registry.matches(asked.id, "confirmed")
    uids = {found.uid.hex() for found in matches}
    hidden = tombstones.read(store).table().to_pylist()
    uids |= {row["uid"].hex() for row in hidden if row["request"] == asked.id}
    mine = [erasure for erasure in amendments.erasures(store) if uids & set(erasure.uids)]
    stores: Counter[str] = Counter()
    for erasure in mine:
        stores.update(erasure.counts)
    return {
        "format": _FORMAT,
        "data_set": store.root.rstrip("/").rsplit("/", 1)[-1],
        "request": asked.id,
        "kind": asked.kind,
        "received_utc": asked.received_utc,
        "due_utc": asked.deadline_utc,
        "found": dict(sorted(Counter(found.how for found in matches).items())),
        "samples": sorted(uids),
        "erased": dict(sorted(stores.items())),
        "erased_together": len({uid for erasure in mine for uid in erasure.uids}),
        "objects": [[list(change.names), change.old, change.new] for erasure in mine for change in erasure.changes],
        "derived": sorted({name for erasure in mine for name in erasure.derived}),
        "remains": sorted({line for erasure in mine for line in erasure.remains}),
        "searched": {
            "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": scan.files,
            "bytes": scan.read_bytes,
            "values": len(scan.needles.strings),
            "too_short": scan.needles.too_short,
            "findings": 0,
            "shared_with_living": dict(sorted(scan.shared.items())),
            "look_alikes": len(scan.twins),
        },
    }


def write_report(store: Store, registry: Registry, request_id: str, facts: dict[str, Any]) -> str:
    """Sign and write a report as JSON and as a page; return the page's name."""
    held = receipt(registry, request_id)
    steps = [{"state": state, "utc": utc, "leaf": leaf} for state, utc, leaf in registry.get(request_id).transitions]
    report = {**facts, "steps": steps, "receipt": held}
    signature = registry.key.sign(log.canonical(report).encode())
    signed = {
        "report": report,
        "public_key": base64.b64encode(log.public_bytes(registry.key)).decode(),
        "signature": base64.b64encode(signature).decode(),
    }
    base = f"{REPORTS}/{request_id}"
    store.write(f"{base}.json", json.dumps(signed, sort_keys=True, indent=1, ensure_ascii=False).encode())
    times = {step["state"]: step["utc"] for step in steps}
    page = render("pipeline", "erasure.html", report=report, times=times, signature=signed["signature"])
    store.write(f"{base}.html", page.encode())
    store.delete(f"{base}{_DRAFT}")
    return f"{base}.html"


def check_report(signed: Mapping[str, Any], public_key: str | None = None) -> dict[str, Any]:
    """Return the report in a signed file; FormatError when it is none, or was changed after it was signed."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key or signed["public_key"]))
        key.verify(base64.b64decode(signed["signature"]), log.canonical(signed["report"]).encode())
        report: dict[str, Any] = signed["report"]
    except InvalidSignature as error:
        raise FormatError("the report was changed after it was signed, or signed by another key") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not an erasure report: {error!r}") from error
    return report
