"""What the desk has done in the background: the same that `tamis optout apply`, `verify` and `tamis notices` do."""

from typing import Any

from index.erase import erase
from index.serve.apart import apart
from index.serve.catalogue import Served
from index.serve.jobs import Note
from pipeline.disclosure import notices, removals
from pipeline.erasure.apply import apply
from pipeline.erasure.prove import verify
from pipeline.identify import take_up_lists
from pipeline.registry.registry import Registry
from pipeline.store import Store


def erase_hidden(served: Served, registry: Registry, note: Note) -> dict[str, Any]:
    """Erase what is hidden, in every store and in the index; whatever stopped an earlier try is finished first."""
    note("look through imported lists", 0, 0)
    take_up_lists(served.store, registry)
    done = apply(served.store, registry, derived=[erase], progress=note)
    registry.sign()
    served.searcher.refresh()
    return {
        "samples": done.uids,
        "counts": done.counts,
        "files": len(done.files()),
        "bytes": done.in_place_bytes + done.table_bytes,
        "seconds": done.seconds,
    }


def prove_erased(served: Served, registry_url: str | None, request_id: str | None, note: Note) -> dict[str, Any]:
    """Search every byte for what was erased, close and forget the requests of which nothing is left, sign reports.

    That is done in a process of its own: it takes hours where a data set is large, and searches go on meanwhile.
    """
    return apart(_prove, note, served.store.root, served.name, registry_url, request_id)


def _prove(note: Note, root: str, name: str, registry_url: str | None, request_id: str | None) -> dict[str, Any]:
    store = Store.open_url(root)
    registry = Registry.open(store, registry_url)
    proof = verify(store, registry, request_id, lambda what: note(what.replace(store.root, name), 0, 0))
    registry.sign()
    return {
        "closed": proof.closed,
        "files": proof.scan.files,
        "bytes": proof.scan.read_bytes,
        "seconds": round(proof.scan.seconds, 2),
        "left": [finding.to_json() for finding in proof.findings],
    }


def write_notices(served: Served, registry: Registry) -> dict[str, Any]:
    """Write a notice for every recipient that holds what was erased since, and the public feed; again adds nothing."""
    done = notices.write_notices(served.store, registry)
    removals.publish(served.store, registry.origin)
    registry.sign()
    return {
        "written": len(done.files),
        "rows": done.rows,
        "notices": done.report,
        "summary": notices.summary(done.report),
    }
