"""Where a run's exports went. Each is noted in the run's folder before it is written, so that lineage names it for ever."""

import json
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from pipeline.errors import FormatError
from pipeline.store import Store
from train.checkpoint import must_be_new

FOLDER: Final = "exports"


@dataclass(frozen=True)
class HandedOut:
    """An export of a checkpoint's weights; the folder may have been moved, copied or removed since."""

    folder: str
    host: str
    step: int
    utc: str


_NOTES: Final = TypeAdapter(HandedOut)


@contextmanager
def noted(weights: Sequence[tuple[Path, int]], out: Path) -> Iterator[None]:
    """Note in each run's folder that its weights of a step go to `out`; taken back where nothing is written after all.

    InputError where `out` holds something. What a kill leaves is a note too many, never an export too many.
    """
    must_be_new(out)
    note = HandedOut(str(out.resolve()), socket.gethostname(), 0, datetime.now(UTC).isoformat(timespec="seconds"))
    name = f"{FOLDER}/{uuid.uuid4().hex[:16]}.json"
    try:
        for run, step in weights:
            Store(str(run)).write(name, json.dumps({**asdict(note), "step": step}, sort_keys=True, indent=1).encode())
        yield
    except BaseException:
        if not (out.is_dir() and any(out.iterdir())):
            for run, _ in weights:
                (run / name).unlink(missing_ok=True)
        raise


def exports(run: Path) -> list[HandedOut]:
    """Return the exports of a run's weights by their steps; FormatError names a damaged note."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            found.append(_NOTES.validate_json(path.read_bytes()))
        except ValueError as error:
            raise FormatError(
                f"{path}: not a note of an export ({error}); restore it from a backup, or remove it if you know where the export is"
            ) from error
    return sorted(found, key=lambda one: (one.step, one.utc, one.folder))
