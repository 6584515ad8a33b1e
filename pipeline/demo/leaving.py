"""The demo's last act: a site's owner, the owner of one address and somebody with a picture ask to be left out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from pipeline.demo.builder import Leaving
from pipeline.erasure.apply import Applied, apply
from pipeline.erasure.prove import Proof, verify
from pipeline.errors import InvariantError
from pipeline.identify import take_up
from pipeline.picture_hashes import picture_hashes
from pipeline.registry import receipts
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Request
from pipeline.store import Store

Derived = Callable[[Store, frozenset[bytes]], list[str]]


@dataclass(frozen=True)
class Left:
    """What became of the three requests."""

    requests: Sequence[Request]
    rows: Sequence[int]
    applied: Applied
    proof: Proof
    receipt: Path

    def receipt_says(self) -> list[str]:
        """Return what the receipt, checked with nothing but itself, shows."""
        return receipts.check(json.loads(self.receipt.read_text(encoding="utf-8")))

    def table(self) -> Table:
        """Return a line a request."""
        table = Table(title="who asked to be left out", title_justify="left", box=None, pad_edge=False)
        for name in ("request", "by", "rows", "state"):
            table.add_column(name, justify="right" if name == "rows" else "left")
        for request, rows in zip(self.requests, self.rows, strict=True):
            table.add_row(request.id, request.kind, str(rows), f"[green]{request.state}[/]")
        return table


def leave(store: Store, leaving: Leaving, derived: Sequence[Derived], receipt: Path) -> Left:
    """Take the three requests in, hide, erase and verify, and write the first one's receipt.

    A demo run again finds its requests closed and asks for nothing new. InvariantError when the proof finds anything left.
    """
    registry = Registry.open(store)
    known = list(registry.requests())
    if not known:
        hashes = picture_hashes(leaving.picture, "the demo's picture")
        known = [
            registry.add("host", leaving.host, contact="painter@example.org", category="gdpr21"),
            registry.add("url", leaving.url, category="copyright"),
            registry.add("picture", hashes, category="gdpr17"),
        ]
    for request in known:
        take_up(store, registry, request.id)
    if not receipt.exists():
        receipt.write_text(json.dumps(receipts.receipt(registry, known[0].id), indent=1) + "\n", encoding="utf-8")
    applied = apply(store, registry, derived=derived)
    proof = verify(store, registry)
    if proof.findings:
        raise InvariantError(f"the demo's erasure left {len(proof.findings)} traces: {proof.findings[0].to_json()}")
    rows = [len(registry.matches(request.id, "confirmed")) for request in known]
    return Left([registry.get(request.id) for request in known], rows, applied, proof, receipt)
