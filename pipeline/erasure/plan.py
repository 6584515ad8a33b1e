"""What an erasure will write, and where: made and kept before the first byte changes, so that any stop can be mended.

A plan names files, rows by position and blocks by offset, and of the samples their uids; nothing else of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.amendments import FOLDER
from pipeline.erasure.tar_erase import Region
from pipeline.errors import FormatError
from pipeline.store import Store


@dataclass(frozen=True)
class Task:
    """One file to change, under all names that share its bytes."""

    kind: Literal["table", "array", "tar"]
    role: str  # of a table: which of blank.FORMS
    names: Sequence[str]
    origin: str  # the digest that the record of the file names
    record: str  # where the digests of its pieces are kept, and
    suffix: str  # under which name
    rows: Sequence[int] = ()
    runs: Sequence[Region] = ()
    renames: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All that one erasure does."""

    number: int
    utc: str
    uids: Mapping[str, Sequence[str]]  # hex → keys of the candidates parts that tombstones name
    requests: Sequence[str]
    tasks: Sequence[Task]
    counts: Mapping[str, int]
    removed: Sequence[str]  # files that belong to no record, as a killed run leaves them

    def to_json(self) -> bytes:
        """Return the journal's bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()


def name(number: int) -> str:
    """Return the name of a plan's file."""
    return f"{FOLDER}/{number:08d}.plan.json"


def _parse(data: bytes, where: str) -> Plan:
    try:
        raw: dict[str, Any] = json.loads(data)
        tasks = []
        for task in raw.pop("tasks"):
            runs = [(offset, size) for offset, size in task.pop("runs")]
            renames = {int(offset): new for offset, new in task.pop("renames").items()}
            tasks.append(Task(runs=runs, renames=renames, **task))
        return Plan(tasks=tasks, **raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{where}: not the plan of an erasure ({error})") from error


def unfinished(store: Store) -> list[Plan]:
    """Return the plans that are there, oldest first: those of erasures that were stopped."""
    found = [file for file in store.names(FOLDER) if file.endswith(".plan.json")]
    return [_parse(store.read(file), store.uri(file)) for file in found]


def keep(store: Store, plan: Plan) -> None:
    """Write a plan down before anything of it is done."""
    store.write(name(plan.number), plan.to_json())
