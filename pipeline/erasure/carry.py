"""Carry out one task of a plan and say what stands for the file's bytes afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import pieces as pieces_of
from pipeline.amendments import Amendments, Change
from pipeline.erasure import tar_erase
from pipeline.erasure.blank import array_regions, blank_array, blank_table
from pipeline.erasure.plan import Task
from pipeline.erasure.tar_erase import Region, TarPlan
from pipeline.pack import read_pieces
from pipeline.store import Store, explained


@dataclass(frozen=True)
class Done:
    """A task's outcome."""

    change: Change
    in_place_bytes: int = 0  # written into tars and arrays
    table_bytes: int = 0  # written as new tables, or as whole objects


def carry_out(store: Store, task: Task, before: Amendments) -> Done:
    """Do a task; doing it again, after any stop, ends with the same bytes."""
    with explained(f"erasing in {task.names[0]}"):
        return _table(store, task, before) if task.kind == "table" else _in_place(store, task, before)


def _table(store: Store, task: Task, before: Amendments) -> Done:
    with store.scratch() as scratch:
        draft = scratch / "table"
        with store.open(task.names[0]) as source:
            blank_table(source, draft, task.rows, task.role)
        digest, size = pieces_of.whole_file(draft), draft.stat().st_size
        store.put(draft, task.names[0])
    for name in task.names[1:]:
        store.copy(task.names[0], name)
    return Done(
        Change(task.origin, task.names, before.stands_for(task.origin), digest, sha256=digest), table_bytes=size
    )


def _in_place(store: Store, task: Task, before: Amendments) -> Done:
    with _local(store, task.names[0]) as (path, is_copy):
        if task.kind == "tar":
            plan = TarPlan(task.runs, task.renames)
            regions, written = plan.regions(), tar_erase.erase(path, plan)
        else:
            with path.open("rb") as handle:
                regions = array_regions(handle, task.rows)
            written = blank_array(path, task.rows)
        change = _change(store, task, path, regions, before)
        if is_copy:
            size = path.stat().st_size
            store.put(path, task.names[0])
            return Done(change, table_bytes=size)
    return Done(change, in_place_bytes=written)


@contextmanager
def _local(store: Store, name: str) -> Iterator[tuple[Path, bool]]:
    """Give the file itself where it is a plain one, else a copy to be put back whole."""
    path = store.local(name)
    if path is not None:
        yield path, False
        return
    with store.scratch() as scratch:
        copy = scratch / "object"
        with store.open(name) as source, copy.open("wb") as out:
            while block := source.read(1 << 22):
                out.write(block)
        yield copy, True


def _change(store: Store, task: Task, path: Path, regions: list[Region], before: Amendments) -> Change:
    """Read the touched pieces again, or the whole file where no record has the digests of its pieces."""
    earlier, old = before.changes.get(task.origin), before.stands_for(task.origin)
    pieces = read_pieces(store, task.record, task.suffix)
    if not pieces or (earlier is not None and earlier.sha256 is not None):
        digest = pieces_of.whole_file(path)
        return Change(task.origin, task.names, old, digest, sha256=digest)
    with path.open("rb", buffering=0) as handle:
        changed = dict(earlier.pieces if earlier is not None else {})
        changed |= pieces_of.at(handle, pieces_of.touched(regions))
    new = pieces_of.root(pieces_of.overlaid(pieces, changed))
    return Change(task.origin, task.names, old, new, pieces=dict(sorted(changed.items())))
